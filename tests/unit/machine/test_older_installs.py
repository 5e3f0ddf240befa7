"""An installation that 86c7d76 made is taken over: its profile and its directory stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dream_runner.machine import target
from dream_runner.module_utils.dream_core.network import listeners
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import due_phases
from dream_runner.module_utils.dream_core.system import tools
from dream_runner.settings.problems import SettingsError
from dream_runner.settings.values import Given

#: What that version wrote into settings.json: what the user chose, never a default.
CHOSEN = {
    "embedded": {"profile": "embedded", "model": "smoke"},
    # Full was the default and stood in no file; its model was chosen by hand here.
    "full": {"model": "qwen3.5-2b-q4"},
}


def receipt(phase: str, root: Path, profile: str, state: str) -> dict[str, Any]:
    """Return a receipt of that version (schema 2), with the facts that its roles wrote."""
    settings = {"profile": profile, "install_dir": str(root), "model": CHOSEN[profile]["model"]}
    facts: dict[str, dict[str, Any]] = {
        "features": {"profile": profile, "bind_address": "127.0.0.1", "settings": settings},
        "requirements": {"engine_port": 21099, "ports": {}, "memory_mb": 8192},
        "detection": {"tier": "1", "backend": "cpu", "gpu_assignment": None},
        "models": {"path": str(root / "data" / "models" / "m.gguf"), "sha256": "0" * 64},
        "services": {"engine": "native" if profile == "embedded" else "containers"},
        "health": {
            "answered": True,
            "url": "http://127.0.0.1:21099",
            "model": CHOSEN[profile]["model"],
            "degraded": {},
            "proof": {
                "profile": profile,
                "url": "http://127.0.0.1:21099",
                "health_path": "/health",
                "api_path": "",
                "model": CHOSEN[profile]["model"],
                "deadline_seconds": 600,
                "project": "" if profile == "embedded" else "dream-runner",
                "services": [],
                "watch": {},
            },
        },
        "summary": {"profile": profile, "urls": {"chat": "http://127.0.0.1:21099/v1"}},
    }
    path = {"kind": "directory", "path": str(root), "mode": "0755", "origin": "made"}
    return {
        "schema": 2,
        "phase": phase,
        "state": state,
        "version": "0.1.0",
        "run_id": "20261101T120000-00000aaaa",
        "install_dir": str(root),
        "started_at": "2026-11-01T12:00:00Z",
        "finished_at": "2026-11-01T12:01:00Z",
        "inputs": {"role": "0123456789abcdef"},
        "facts": facts.get(phase, {}),
        "resources": [dict(path, seen={"present": True})] if phase == "directories" else [],
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(listeners, "listeners", lambda *_, **__: [])
    monkeypatch.setattr(tools, "output", lambda *_, **__: "")
    return tmp_path


def older(home: Path, profile: str, saved: str, state: str = "done") -> target.Target:
    """Make such an installation in its default directory; return what today's program plans."""
    root, folder = home / "dream-runner", home / ".local" / "state" / "dream-runner"
    root.mkdir()
    (folder / "receipts").mkdir(parents=True)
    for phase in PHASES:
        document = receipt(phase, root, profile, state)
        (folder / "receipts" / f"{phase}.json").write_text(json.dumps(document))
    if saved != "lost":
        document = {"schema": 1, "version": "0.1.0", "values": CHOSEN[profile], "sources": {}}
        (folder / "settings.json").write_text(json.dumps(document))
    said = target.read_settings({}, None, {"HOME": str(home)})
    return target.observe(said, fresh=False, save=False)


@pytest.mark.parametrize("saved", ["saved", "lost"])
@pytest.mark.parametrize(("profile", "today"), [("embedded", "native"), ("full", "full")])
def test_profile_directory_and_model_are_kept(
    home: Path, profile: str, today: str, saved: str
) -> None:
    found = older(home, profile, saved)
    assert found.settings["install_dir"] == str(home / "dream-runner")
    assert found.choice["profile"] == today
    assert found.choice["model"]["id"] == CHOSEN[profile]["model"]
    assert found.choice["engine_port"] == 21099
    assert not [note for note in found.notes if "ignored" in note]


@pytest.mark.parametrize("profile", ["embedded", "full"])
def test_nothing_is_due_but_what_another_version_brings(home: Path, profile: str) -> None:
    """No phase counts as never run, interrupted or elsewhere: the host is not set up anew."""
    reasons = older(home, profile, "saved").reasons
    whys = {phase: reason.why for phase, reason in reasons.items()}
    assert set(whys.values()) <= {
        due_phases.VERSION,
        due_phases.CHANGED,
        due_phases.FOLLOWS,
        due_phases.UNCHANGED,
    }, whys


def test_its_directory_does_not_become_a_choice(home: Path) -> None:
    """A second run saves the same choices as the first."""
    found = older(home, "embedded", "saved")
    assert "install_dir" not in found.settings.said()


def test_a_feature_that_is_no_longer_offered_is_left_out(home: Path) -> None:
    """A saved yes is dropped with a note; a yes that is typed now is an error."""
    folder = home / ".local" / "state" / "dream-runner"
    folder.mkdir(parents=True)
    values = {"profile": "full", "images": "yes", "voice": "no"}
    document = {"schema": 1, "version": "0.1.0", "values": values, "sources": {}}
    (folder / "settings.json").write_text(json.dumps(document))
    said = target.read_settings({}, None, {"HOME": str(home)})
    assert (said.settings["images"], said.settings["voice"]) == ("auto", "no")
    (note,) = said.notes
    assert note.startswith("saved images ignored: it is not offered: ")
    with pytest.raises(SettingsError) as caught:
        target.read_settings(
            {"images": Given("yes", "--images", "flag")}, None, {"HOME": str(home)}
        )
    (problem,) = caught.value.problems
    assert (problem.where, problem.hint) == ("--images", "leave it out")
    assert problem.what.startswith("it is not offered: ")


def test_an_interrupted_one_is_continued_where_it_is(home: Path) -> None:
    found = older(home, "embedded", "lost", state="running")
    assert found.settings["install_dir"] == str(home / "dream-runner")
    assert found.choice["profile"] == "native"
    assert {reason.why for reason in found.reasons.values()} == {due_phases.INTERRUPTED}
