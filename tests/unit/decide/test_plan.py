"""The plan is a pure function: why each phase would run, what it would fetch, with which rights."""

from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import plan as command
from dream_runner.decide import plan, plan_rows
from dream_runner.decide.plan import Found
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import due_phases as due
from dream_runner.module_utils.dream_core.records.due_phases import Reason
from dream_runner.settings import merge, table, values
from dream_runner.settings.parsers import Known
from dream_runner.settings.values import Given, Saved

SESSION = {"user": "me", "is_root": False, "sudo": "password"}
FEATURES = dict.fromkeys(table.FEATURES, False)


def choice(**more: Any) -> dict[str, Any]:
    file = {"file": "m.gguf", "size_bytes": 1000, "urls": ["https://u:p@h/m.gguf?key=s"]}
    return {
        "tier": {"id": "1", "reason": "no usable GPU"},
        "model": {"id": "m", "why": "fits", "files": [file]},
        "features": {"enabled": FEATURES, "reasons": dict.fromkeys(FEATURES, "off")},
        "context_tokens": 2048,
        "engine_port": 11434,
        "engine_address": "127.0.0.1",
        "backend": "cpu",
        "supervisor": "supervisord",
        "fast_start": {"use": False, "why": "switched off"},
        "upgrade": None,
        "profile_why": "chosen by the user",
    } | more


def reasons(**due_phases: Reason) -> dict[str, Reason]:
    return {phase: due_phases.get(phase, Reason(due.UNCHANGED)) for phase in PHASES}


def chosen(**flags: str) -> values.Settings:
    given = {
        name: Given(raw, table.BY_NAME[name].flag, "flag")
        for name, raw in ({"install_dir": "/srv/dream"} | flags).items()
    }
    return merge.merge(given, {}, Saved(), {}, Known())


def built(
    *,
    why: dict[str, Reason] | None = None,
    found: Found | None = None,
    session: dict[str, Any] = SESSION,
    more: dict[str, Any] | None = None,
    **flags: str,
) -> plan.Plan:
    there = Found({"m.gguf": 1000}) if found is None else found
    return plan.build(
        chosen(**flags),
        session,
        choice(**({"profile": flags.get("profile", "full")} | (more or {}))),
        reasons() if why is None else why,
        there,
    )


def test_nothing_there_means_everything_is_pending() -> None:
    result = built(why=dict.fromkeys(PHASES, Reason(due.NEVER)), found=Found({}))
    assert [step.phase for step in result.steps] == list(PHASES)
    assert {step.why for step in result.steps} == {due.NEVER}
    assert result.changes_pending
    assert result.fetch_bytes == 1000
    assert command.summary(result) == "14 steps to run."


def test_a_finished_install_has_nothing_pending() -> None:
    result = built()
    assert not result.changes_pending
    assert command.summary(result).startswith("Everything is up to date")


def test_what_differs_on_the_host_is_named() -> None:
    result = built(why=reasons(services=Reason(due.DRIFT, "unit dream-engine: missing")))
    assert result.changes_pending
    assert "differs: unit dream-engine: missing" in command.as_text(result)
    assert command.summary(result).endswith("are already done.")


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
    result = built(found=found, more={"model": model})
    assert result.downloads[0].missing_bytes is None
    assert (result.fetch_bytes, result.is_estimate) == (5_500_000_000, True)
    assert "(size unknown) from" in command.as_text(result)
    told = built(
        found=Found({}, sizes={"m.gguf": 98_400_000}), more={"model": {"id": "m", "files": [file]}}
    )
    assert (told.fetch_bytes, told.is_estimate) == (98_400_000, False)
    assert "(98.4 MB) from" in command.as_text(told)
    silent = command.as_text(built(found=Found({}), more={"model": model}))
    assert "To download: the model (size unknown)" in silent
    assert "0 B" not in silent


def test_what_is_here_is_no_download() -> None:
    text = command.as_text(built())
    assert "Download:" not in text
    assert "To download: nothing (the model is already downloaded)" in text


def test_no_credential_of_an_address_is_shown() -> None:
    result = built(found=Found({}))
    shown = command.as_text(result) + str(command.as_json(result, ()))
    assert "https://h/m.gguf" in shown
    assert "u:p" not in shown
    assert "key=s" not in shown


@pytest.mark.parametrize(
    ("supervisor", "found", "actions"),
    [
        ("supervisord", Found({}), []),
        ("supervisord", Found({}, ("libgomp1",)), ["install packages: libgomp1"]),
        ("systemd-system", Found({}), ["create and start a system service"]),
        ("systemd-user", Found({}, lingers=True), []),
        (
            "systemd-user",
            Found({}, lingers=False),
            ["enable lingering, so that the services of me"],
        ),
    ],
)
def test_privileged_actions(supervisor: str, found: Found, actions: list[str]) -> None:
    result = built(found=found, more={"supervisor": supervisor}, profile="native")
    assert len(result.privileged) == len(actions)
    assert all(
        seen.startswith(wanted) for seen, wanted in zip(result.privileged, actions, strict=True)
    )


def test_root_commands_do_all_that_needs_root_or_are_not_told() -> None:
    missing = Found({}, ("libgomp1",), "apt-get install -y libgomp1", lingers=False)
    user = built(found=missing, more={"supervisor": "systemd-user"}, profile="native")
    assert user.root_commands == ("apt-get install -y libgomp1", "loginctl enable-linger me")
    system = built(found=missing, more={"supervisor": "systemd-system"}, profile="native")
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
    text = command.as_text(built(why=reasons(models=Reason(due.INTERRUPTED))))
    assert "  1-10 of 14  preflight, detection," in text
    assert "    11 of 14  models: interrupted" in text
    assert " 12-14 of 14  services, health, summary: unchanged" in text


def test_json_holds_what_the_text_says() -> None:
    data = command.as_json(built(found=Found({})), ("a note",))
    assert data["changes_pending"] is True
    assert data["fetch_bytes"] == 1000
    assert data["notes"] == ["a note"]
    assert data["steps"][0] == {"phase": "preflight", "why": "unchanged", "detail": ""}


def image(service: str, tag: str, reference: str, archive: str = "") -> dict[str, str]:
    return {
        "service": service,
        "tag": tag,
        "reference": reference,
        "also": "",
        "archive": archive,
    }


STACK = {
    "services": [
        {"id": "llama-server", "title": "Model server", "once": False},
        {"id": "web", "title": "Chat", "once": False},
        {"id": "seed", "title": "Seed", "once": True},
    ],
    "images": [
        image("llama-server", "llama:1", "sha256:aa", "images/a.tar"),
        image("web", "web:1", "web@sha256:bb"),
        image("seed", "web:1", "web@sha256:bb"),
        image("more", "more:1", ""),
    ],
    "ports": [
        {"service": "llama-server", "port": 11434, "address": "127.0.0.1", "guard": "none"},
        {"service": "web", "port": 3000, "address": "127.0.0.1", "guard": "account"},
    ],
}
NEW = dict.fromkeys(PHASES, Reason(due.NEVER))


def test_images_are_told_once_with_size_source_and_whether_they_are_here() -> None:
    found = Found(
        {}, images=frozenset({"web@sha256:bb"}), archive_bytes={"images/a.tar": 5_000_000}
    )
    result = built(why=NEW, found=found, more={"stack": STACK})
    rows = {item["image"]: item for item in result.images}
    assert [item["present"] for item in result.images] == [False, True, False]
    assert [item["bytes"] for item in result.images] == [5_000_000, None, None]
    assert [item["source"] for item in result.images] == ["bundle", "registry", "unknown"]
    assert rows["web:1"]["services"] == ["web", "seed"]
    assert result.image_bytes == 5_000_000
    text = command.as_text(result)
    assert "llama:1 (5.0 MB) from the bundle" in text
    assert "more:1 (size unknown, not pinned yet: dream-runner lock more:1)" in text
    assert "1 already available" in text


def test_what_containers_fetch_by_themselves_is_told() -> None:
    told = [{**item, "fetches": "a model" if item["id"] == "web" else ""}
            for item in STACK["services"]]  # fmt: skip
    result = built(why=NEW, more={"stack": {**STACK, "services": told}})
    assert result.own_fetches == ("web: a model",)
    assert "Downloaded later:  web: a model" in command.as_text(result)


def test_an_engine_that_cannot_be_asked_is_not_guessed_at() -> None:
    result = built(why=NEW, found=Found({}), more={"stack": STACK})
    assert {item["present"] for item in result.images} == {None}


def test_every_port_and_everything_that_keeps_running_is_told() -> None:
    result = built(why=NEW, more={"stack": STACK, "engine_port": 11434})
    assert result.ports == ("127.0.0.1:11434 (model API)", "127.0.0.1:3000 (Chat)")
    assert "Runs as:     llama-server, web (compose)" in command.as_text(result)


def test_who_reaches_a_port_and_what_asks_them_is_told() -> None:
    opened = [{**item, "address": "0.0.0.0"} for item in STACK["ports"][1:]]
    result = built(why=NEW, more={"stack": {**STACK, "ports": [STACK["ports"][0], *opened]}})
    assert result.ports == (
        "127.0.0.1:11434 (model API)",
        "0.0.0.0:3000 (Chat: open to the network, sign-in required)",
    )
    assert [item["open"] for item in result.to_dict()["exposure"]] == [False, True]


@pytest.mark.parametrize(
    ("supervisor", "row"),
    [
        ("systemd-user", ("dream-runner-engine.service", "user")),
        ("systemd-system", ("dream-runner-engine.service", "system")),
        ("supervisord", ("engine", "supervisord")),
    ],
)
def test_the_native_engine_is_one_unit(supervisor: str, row: tuple[str, str]) -> None:
    result = built(more={"supervisor": supervisor}, profile="native")
    assert [(item["name"], item["scope"]) for item in result.units] == [row]


def test_the_unit_is_called_as_the_playbooks_call_it() -> None:
    text = Path(__file__).parents[3].joinpath("playbooks/group_vars/all/engine.yml").read_text()
    assert f"dream_engine_unit: {plan_rows.ENGINE_UNIT}\n" in text


@pytest.mark.parametrize(
    ("state", "why", "names"),
    [
        ("done", due.DRIFT, ("e.service", "web")),
        ("running", due.INTERRUPTED, ("e.service", "web")),
        ("done", due.UNCHANGED, ()),
        ("removed", due.NEVER, ()),
        (None, due.NEVER, ()),
    ],
)
def test_restarts_are_of_what_runs_already(
    state: str | None, why: str, names: tuple[str, ...]
) -> None:
    resources = [
        {"kind": "unit", "name": "e.service"},
        {"kind": "container", "project": "p", "service": "web"},
        {"kind": "file", "path": "/x"},
    ]
    receipts = {"services": {"state": state, "resources": resources}} if state else {}
    result = built(why=reasons(services=Reason(why)), found=Found({}, receipts=receipts))
    assert result.restarts == names
    assert ("Restarts:    nothing" in command.as_text(result)) == (not names)


def test_disk_is_added_up_per_filesystem() -> None:
    def need(what: str, size: int, device: int, mount: str) -> dict[str, Any]:
        return {
            "what": what,
            "bytes": size,
            "device": device,
            "mount": mount,
            "free_bytes": 9_000_000,
        }

    needs = (
        need("the model", 1_000_000, 1, "/srv"),
        need("state", 2_000_000, 2, "/"),
        need("the engine", 3_000_000, 1, "/srv"),
        need("what is there", -5, 3, "/there"),
    )
    result = built(why=NEW, found=Found({}, disk_needs=needs))
    assert [(item["mount"], item["needed_bytes"]) for item in result.disk] == [
        ("/srv", 4_000_000),
        ("/", 2_000_000),
    ]
    assert result.to_dict()["disk_bytes"] == 6_000_000
    assert "about 4.0 MB on /srv (the model 1.0 MB, the engine 3.0 MB), 9.0 MB free" in (
        command.as_text(result)
    )
    assert built(found=Found({"m.gguf": 1000}, disk_needs=needs)).disk == ()
