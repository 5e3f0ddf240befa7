"""Uninstall goes by the receipts: what we made, backwards; the rest stays."""

from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import uninstall
from dream_runner.module_utils.dream_core import receipt
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.ui import terminal
from dream_runner.ui.plain import QuietListener

RECEIPTS: dict[str, Any] = {
    "requirements": {"resources": []},
    "directories": {
        "state": "done",
        "install_dir": "/srv/dream",
        "resources": [
            {"kind": "directory", "path": "/srv/dream", "origin": "made"},
            {"kind": "file", "path": "/srv/dream/.env", "secret": True, "origin": "made"},
        ],
    },
    "models": {
        "resources": [{"kind": "model", "path": "/srv/dream/models/m.gguf", "origin": "made"}]
    },
    "services": {
        "resources": [
            {"kind": "package", "name": "libgomp1", "origin": "found"},
            {"kind": "unit", "name": "dream-engine", "scope": "system", "origin": "made"},
            {"kind": "port", "port": 11434, "origin": "made"},
        ]
    },
}


def test_what_we_made_goes_backwards_and_the_rest_stays() -> None:
    removal = uninstall.plan(RECEIPTS, purge=False)
    assert removal.remove == ("port 11434", "unit dream-engine", "directory /srv/dream")
    assert removal.keep == (
        "package libgomp1 (was there before)",
        "model /srv/dream/models/m.gguf (--purge removes it)",
        "file /srv/dream/.env (--purge removes it)",
    )
    assert removal.privileged == ("unit dream-engine",)


def test_purge_spares_only_what_was_there_before() -> None:
    removal = uninstall.plan(RECEIPTS, purge=True)
    assert len(removal.remove) == 5
    assert removal.keep == ("package libgomp1 (was there before)",)


def test_nothing_installed_is_a_usage_error(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    with pytest.raises(UsageError) as caught:
        uninstall.run(environment, QuietListener, purge=False, yes=True, dry_run=False)  # type: ignore[arg-type]
    assert caught.value.code == "NOT_INSTALLED"
    assert list(tmp_path.iterdir()) == []


def test_nobody_to_confirm_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_present", lambda: False)
    state = tmp_path / "dream-runner"
    document = {"schema": 1, "phase": "directories", **RECEIPTS["directories"]}
    assert receipt.write(str(state), document) is None
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    with pytest.raises(UsageError) as caught:
        uninstall.run(environment, QuietListener, purge=False, yes=False, dry_run=False)  # type: ignore[arg-type]
    assert caught.value.code == "NOT_CONFIRMED"


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    state = tmp_path / "dream-runner"
    document = {"schema": 1, "phase": "directories", **RECEIPTS["directories"]}
    receipt.write(str(state), document)
    before = sorted(tmp_path.rglob("*"))
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    outcome = uninstall.run(environment, QuietListener, purge=True, yes=False, dry_run=True)  # type: ignore[arg-type]
    assert "Would remove:" in uninstall.as_text(outcome)
    assert uninstall.as_json(outcome)["outcome"] == "planned"
    assert sorted(tmp_path.rglob("*")) == before
