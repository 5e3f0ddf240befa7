"""The plan is a pure function: why each phase would run, what it would fetch, with which rights."""

from typing import Any

import pytest

from dream_runner import plan, settings
from dream_runner.commands import plan as command
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.plan import Found
from dream_runner.settings import Given, Saved
from dream_runner.values import Known

SESSION = {"user": "me", "is_root": False, "sudo": "password"}
FEATURES = dict.fromkeys(settings.FEATURES, False)


def choice(**more: Any) -> dict[str, Any]:
    file = {"file": "m.gguf", "size_bytes": 1000, "urls": ["https://u:p@h/m.gguf?key=s"]}
    return {
        "tier": {"id": "1", "reason": "no usable GPU"},
        "model": {"id": "m", "why": "fits", "files": [file]},
        "features": {"enabled": FEATURES, "reasons": dict.fromkeys(FEATURES, "off")},
        "context_tokens": 2048,
        "engine_port": 11434,
        "backend": "cpu",
        "supervisor": "supervisord",
    } | more


def receipts(**states: str) -> dict[str, Any]:
    done = {
        phase: {"state": "done", "version": "1", "install_dir": "/srv/dream"} for phase in PHASES
    }
    for phase, state in states.items():
        done[phase]["state"] = state
    return done


def chosen(**flags: str) -> settings.Settings:
    given = {
        name: Given(raw, settings.BY_NAME[name].flag, "flag")
        for name, raw in ({"install_dir": "/srv/dream"} | flags).items()
    }
    return settings.merge(given, {}, Saved(), {}, Known())


def built(
    before: dict[str, Any] | None = None,
    *,
    found: Found | None = None,
    changed: tuple[str, ...] = (),
    session: dict[str, Any] = SESSION,
    more: dict[str, Any] | None = None,
    **flags: str,
) -> plan.Plan:
    there = Found({"m.gguf": 1000}) if found is None else found
    return plan.build(
        chosen(**flags),
        session,
        choice(**(more or {})),
        receipts() if before is None else before,
        there,
        changed=changed,
        version="1",
    )


def why(plan: plan.Plan, phase: str) -> str:
    return next(step.why for step in plan.steps if step.phase == phase)


def test_nothing_there_means_everything_is_pending() -> None:
    result = built({}, found=Found({}))
    assert [step.phase for step in result.steps] == list(PHASES)
    assert {step.why for step in result.steps} == {plan.NEVER}
    assert result.changes_pending
    assert result.fetch_bytes == 1000


def test_a_finished_install_has_nothing_pending() -> None:
    result = built()
    assert {step.why for step in result.steps} == {plan.CHECK}
    assert not result.changes_pending
    assert command.summary(result).startswith("Everything was installed before")


@pytest.mark.parametrize(
    ("state", "reason"), [("running", plan.INTERRUPTED), ("failed", plan.FAILED)]
)
def test_an_unfinished_phase_is_named(state: str, reason: str) -> None:
    result = built(receipts(models=state))
    assert why(result, "models") == reason
    assert why(result, "images") == plan.CHECK
    assert result.changes_pending


def test_changed_settings_touch_the_phases_that_depend_on_them() -> None:
    result = built(changed=("engine_port",))
    touched = {step.phase for step in result.steps if step.why == plan.CHANGED}
    assert touched == {"requirements", "directories", "services", "health", "summary"}
    assert {step.detail for step in result.steps if step.why == plan.CHANGED} == {"engine_port"}


def test_what_differs_on_the_host_is_named() -> None:
    gone = [{"what": "unit dream-engine", "found": "missing"}, {"what": "file x", "found": "y"}]
    result = built(found=Found({"m.gguf": 1000}, drift={"services": gone, "health": []}))
    assert why(result, "services") == plan.DRIFT
    assert why(result, "health") == plan.CHECK
    assert "services" in command.as_text(result)
    assert "differs: unit dream-engine: missing and 1 more" in command.as_text(result)
    assert result.changes_pending


def test_another_version_and_another_directory_are_reasons() -> None:
    old = receipts()
    old["docker"]["version"] = "0"
    old["models"]["install_dir"] = "/elsewhere"
    result = built(old)
    assert why(result, "docker") == plan.VERSION
    assert why(result, "models") == plan.ELSEWHERE


@pytest.mark.parametrize(
    ("present", "missing"), [({}, 1000), ({"m.gguf": 420}, 580), ({"m.gguf": 1000}, 0)]
)
def test_present_bytes_are_not_fetched_again(present: dict[str, int], missing: int) -> None:
    result = built(found=Found(present))
    assert result.fetch_bytes == missing
    assert result.changes_pending == bool(missing)


def test_unknown_size_stays_unknown() -> None:
    file = {"file": "m.gguf", "size_bytes": None, "urls": ["https://h/m.gguf"]}
    model = {"id": "url", "why": "", "files": [file]}
    found = Found({"m.gguf": 300_000_000}, model_about_bytes=5_800_000_000)
    result = built({}, found=found, more={"model": model})
    assert result.downloads[0].missing_bytes is None
    assert (result.fetch_bytes, result.is_estimate) == (5_500_000_000, True)
    assert "exact size unknown" in command.as_text(result)
    assert "about 5.5 GB" in command.as_text(result)


def test_no_credential_of_an_address_is_shown() -> None:
    result = built({}, found=Found({}))
    shown = command.as_text(result) + str(command.as_json(result, ()))
    assert "https://h/m.gguf" in shown
    assert "u:p" not in shown
    assert "key=s" not in shown


@pytest.mark.parametrize(
    ("supervisor", "found", "actions"),
    [
        ("supervisord", Found({}), []),
        ("supervisord", Found({}, ("libgomp1",)), ["install packages: libgomp1"]),
        ("systemd-system", Found({}), ["write and start a system service"]),
        ("systemd-user", Found({}, lingers=True), []),
        ("systemd-user", Found({}, lingers=False), ["let the services of me run without a login"]),
    ],
)
def test_privileged_actions(supervisor: str, found: Found, actions: list[str]) -> None:
    result = built(found=found, more={"supervisor": supervisor}, profile="embedded")
    assert len(result.privileged) == len(actions)
    assert all(
        seen.startswith(wanted) for seen, wanted in zip(result.privileged, actions, strict=True)
    )


def test_root_commands_do_all_that_needs_root_or_are_not_told() -> None:
    missing = Found({}, ("libgomp1",), "apt-get install -y libgomp1", lingers=False)
    user = built(found=missing, more={"supervisor": "systemd-user"}, profile="embedded")
    assert user.root_commands == ("apt-get install -y libgomp1", "loginctl enable-linger me")
    system = built(found=missing, more={"supervisor": "systemd-system"}, profile="embedded")
    assert system.root_commands == ()


@pytest.mark.parametrize(
    ("flags", "pending"), [({}, True), ({"docker_source": "skip"}, False)], ids=["auto", "skip"]
)
def test_the_full_profile_sets_up_the_container_engine(
    flags: dict[str, str], pending: bool
) -> None:
    result = built(**flags)
    assert ("set up the container engine" in result.privileged) is pending


def test_a_reachable_container_engine_needs_no_root() -> None:
    assert built(found=Found({}, has_containers=True)).privileged == ()


def test_every_choice_carries_its_origin() -> None:
    result = built(tier="1", memory_limit_mb="4096")
    rows = {row.name: row for row in result.choices}
    assert rows["tier"].origin == "--tier"
    assert rows["memory_limit_mb"].value == 4096
    assert rows["model"].origin == "default"
    assert rows["model"].why == "fits"
    assert "disk_reserve_mb" not in rows


def test_text_groups_neighbours_with_one_reason() -> None:
    text = command.as_text(built(receipts(models="running")))
    assert "   11 of 14  interrupted     models" in text
    assert " 1-10 of 14  check again" in text
    assert "12-14 of 14  check again     services, health, summary" in text


def test_json_holds_what_the_text_says() -> None:
    data = command.as_json(built({}, found=Found({})), ("a note",))
    assert data["changes_pending"] is True
    assert data["fetch_bytes"] == 1000
    assert data["notes"] == ["a note"]
    assert data["steps"][0] == {"phase": "preflight", "why": "never ran", "detail": ""}


def test_each_setting_names_real_phases() -> None:
    named = {phase for setting in settings.SETTINGS for phase in setting.phases}
    assert named <= set(PHASES)
    assert all(setting.phases for setting in settings.SETTINGS)
