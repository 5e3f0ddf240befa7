"""Which phases run, and why: nothing rests on a marker's word."""

from typing import Any

import pytest

from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import due_phases, inputs

WANTED: dict[str, dict[str, Any]] = {
    phase: {"inputs": {"content": phase, "dream_gpu": "a"}, "consumes": []} for phase in PHASES
}
WANTED["images"] = {"inputs": {"content": "images"}, "consumes": ["docker"]}
GUARDS_AND_PROOFS = {"preflight", "requirements", "health", "summary"}


def finished(**changes: dict[str, Any]) -> dict[str, Any]:
    """Return the receipts of a finished install; ``changes`` are laid over single ones."""
    receipts: dict[str, Any] = {
        phase: {"state": "done", "version": "1", "install_dir": "/srv/ai", "facts": {}}
        for phase in PHASES
    }
    for phase in PHASES:
        receipts[phase]["inputs"] = due_phases.complete(WANTED[phase], receipts)
    return {phase: receipts[phase] | changes.get(phase, {}) for phase in PHASES}


def decided(receipts: Any, drift: Any = None, **more: Any) -> dict[str, due_phases.Reason]:
    words = {"install_dir": "/srv/ai", "version": "1", **more}
    return due_phases.decide(receipts, drift or {}, WANTED, **words)


def running(reasons: dict[str, due_phases.Reason]) -> set[str]:
    return {phase for phase, reason in reasons.items() if reason.is_due}


def test_a_finished_install_rests() -> None:
    assert running(decided(finished())) == set()


def test_a_host_that_never_saw_us_runs_everything() -> None:
    reasons = decided({})
    assert list(reasons) == list(PHASES)
    assert {reason.why for reason in reasons.values()} == {due_phases.NEVER}


@pytest.mark.parametrize(
    ("change", "why", "detail"),
    [
        ({"state": "running"}, due_phases.INTERRUPTED, ""),
        ({"state": "failed"}, due_phases.FAILED, ""),
        ({"state": "removed"}, due_phases.NEVER, ""),
        ({"install_dir": "/elsewhere"}, due_phases.ELSEWHERE, "/elsewhere"),
        ({"version": "0"}, due_phases.VERSION, "0"),
        ({"inputs": None}, due_phases.VERSION, "1"),
        ({"inputs": {"content": "models", "dream_gpu": "b"}}, due_phases.CHANGED, "gpu"),
        ({"inputs": {"content": "old", "dream_gpu": "a"}}, due_phases.CHANGED, "the role itself"),
        ({"inputs": {"dream_gpu": "b"}}, due_phases.CHANGED, "the role itself and 1 more"),
    ],
)
def test_a_phase_runs_for_its_own_reason(change: Any, why: str, detail: str) -> None:
    reasons = decided(finished(models=change))
    assert reasons["models"] == due_phases.Reason(why, detail)
    assert running(reasons) == {"models", *GUARDS_AND_PROOFS}
    assert reasons["health"] == due_phases.Reason(due_phases.FOLLOWS, "models")


def test_drift_is_named() -> None:
    found = [{"what": "file /x", "found": "missing"}, {"what": "file /y", "found": "missing"}]
    reasons = decided(finished(), {"directories": found, "models": []})
    assert reasons["directories"] == due_phases.Reason(
        due_phases.DRIFT, "file /x: missing and 1 more"
    )
    assert not reasons["models"].is_due


def test_who_reads_what_a_phase_found_runs_with_it() -> None:
    reasons = decided(finished(docker={"state": "running"}))
    assert reasons["images"] == due_phases.Reason(due_phases.FOLLOWS, "docker")


def test_facts_that_changed_in_a_run_that_died_are_news() -> None:
    receipts = finished()
    receipts["docker"] = receipts["docker"] | {"facts": {"become": True}}
    reasons = decided(receipts)
    assert reasons["images"] == due_phases.Reason(due_phases.CHANGED, "the result of docker")


def test_full_runs_everything_and_says_what_differs_all_the_same() -> None:
    reasons = decided(finished(models={"state": "running"}), full=True)
    assert running(reasons) == set(PHASES)
    assert reasons["models"].why == due_phases.INTERRUPTED
    assert reasons["docker"].why == due_phases.ASKED


def test_names_are_read_from_the_text_of_a_role() -> None:
    text = "{{ dream_choice.model.file }} {{ dream_host }} {{ docker_facts.become }} dream_gpux"
    names = inputs.names_in(text)
    assert names == {"dream_choice.model", "dream_host", "docker_facts", "dream_gpux"}
    assert inputs.consumed(names) == ["docker"]


def test_a_whole_stands_for_its_parts() -> None:
    known = inputs.values(
        {"gpu": "auto", "tier": "1"},
        {"model": {"id": "m"}},
        {
            "backend": "cpu",
            "mounts": [{"path": "/mnt/stick"}],
            "gathered_at": "now",
            "fingerprint": "x",
            "digest": "of it all",
        },
        {"user": "me"},
    )
    assert set(inputs.digests({"dream_settings"}, known)) == {"dream_gpu", "dream_tier"}
    assert set(inputs.digests({"dream_host"}, known)) == {"dream_host.backend"}
    assert set(inputs.digests({"dream_tier", "dream_session.user"}, known)) == {
        "dream_tier",
        "dream_session.user",
    }


def test_the_order_of_keys_is_no_difference() -> None:
    assert inputs.digest({"a": 1, "b": [2]}) == inputs.digest({"b": [2], "a": 1})
    assert inputs.digest("1") != inputs.digest(1)
