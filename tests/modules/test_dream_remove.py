"""The module that uninstalls: lists in check mode, then removes, then has nothing to do."""

from pathlib import Path
from typing import Any

from .conftest import Run


def install(run_module: Run, tmp_path: Path) -> dict[str, Any]:
    root = tmp_path / "home" / "dream-runner"
    root.mkdir(parents=True)
    shared = {
        "phase": "directories",
        "state_dir": str(tmp_path / "state"),
        "stamp": {"version": "1", "run_id": "r", "install_dir": str(root)},
    }
    resources = [{"kind": "file", "path": str(root / "config"), "mode": "0644"}]
    begun = run_module("dream_phase", state="running", resources=resources, **shared)
    assert (begun["changed"], begun["interrupted"]) == (False, False)
    (root / "config").write_text("x")
    run_module("dream_phase", state="done", facts={"n": 1}, **shared)
    return {"state_dir": str(tmp_path / "state"), "home": str(tmp_path / "home")}


def test_check_run_check_run(twice: Run, run_module: Run, tmp_path: Path) -> None:
    result = twice("dream_remove", **install(run_module, tmp_path))
    assert result["removed"] == [f"file {tmp_path}/home/dream-runner/config"]


def test_what_is_left_is_one_error_with_the_list(run_module: Run, tmp_path: Path) -> None:
    wanted = install(run_module, tmp_path)
    config = tmp_path / "home" / "dream-runner" / "config"
    config.unlink()
    config.mkdir()
    (config / "theirs").write_text("x")
    result = run_module("dream_remove", **wanted)
    assert result["failed"] is True
    assert result["dream_error"]["code"] == "LEFT_BEHIND"
    assert str(config) in result["msg"]
