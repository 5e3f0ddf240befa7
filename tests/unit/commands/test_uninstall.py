"""Uninstall goes by the receipts: what we made, backwards; the rest stays."""

from pathlib import Path

import pytest

from dream_runner.commands import uninstall
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.records import receipt
from dream_runner.ui import terminal
from dream_runner.ui.plain import QuietListener


def installed(tmp_path: Path) -> Path:
    """Make a state directory with the receipt of a directory, a secret, a model and a package."""
    root = tmp_path / "srv" / "dream"
    root.mkdir(parents=True)
    resources = [{"kind": "package", "name": "libgomp1", "origin": "found"}]
    for name, more in {
        ".env": {"kind": "file", "secret": True},
        "m.gguf": {"kind": "model", "sha256": "0" * 64, "size_bytes": 1},
        "config": {"kind": "file"},
    }.items():
        (root / name).write_text("x")
        resources.append({"path": str(root / name), "origin": "made", **more})
    state = tmp_path / "state" / "dream-runner"
    document = {
        "schema": 1,
        "phase": "directories",
        "state": "done",
        "install_dir": str(root),
        "resources": resources,
    }
    assert receipt.write(str(state), document) is None
    return state


@pytest.mark.parametrize(
    ("purge", "going"), [(False, ["config"]), (True, ["config", "m.gguf", ".env"])]
)
def test_what_we_made_goes_and_the_rest_stays(
    tmp_path: Path, purge: bool, going: list[str]
) -> None:
    removal = uninstall.plan(str(installed(tmp_path)), str(tmp_path), purge=purge)
    assert [line.rpartition("/")[2] for line in removal.remove] == going
    assert len(removal.keep) == 4 - len(going)
    assert any("libgomp1 (existed before the install)" in line for line in removal.keep)


@pytest.mark.parametrize("purge", [False, True])
def test_nothing_installed_is_a_usage_error(tmp_path: Path, purge: bool) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    with pytest.raises(UsageError) as caught:
        uninstall.run(environment, QuietListener, purge=purge, yes=True, dry_run=False)  # type: ignore[arg-type]
    assert caught.value.code == "NOT_INSTALLED"
    assert list(tmp_path.iterdir()) == []


def test_nobody_to_confirm_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_present", lambda: False)
    environment = {"XDG_STATE_HOME": str(installed(tmp_path).parent)}
    with pytest.raises(UsageError) as caught:
        uninstall.run(environment, QuietListener, purge=False, yes=False, dry_run=False)  # type: ignore[arg-type]
    assert caught.value.code == "NOT_CONFIRMED"


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(installed(tmp_path).parent)}
    before = sorted(tmp_path.rglob("*"))
    outcome = uninstall.run(environment, QuietListener, purge=True, yes=False, dry_run=True)  # type: ignore[arg-type]
    assert "Would remove:" in uninstall.as_text(outcome)
    assert uninstall.as_json(outcome)["outcome"] == "planned"
    assert sorted(tmp_path.rglob("*")) == before
