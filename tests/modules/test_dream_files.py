"""Directories and files as wanted, atomically, and nothing that is not listed."""

import stat
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    root = tmp_path / "install"
    return {
        "directories": [
            {"path": str(root), "mode": "0755"},
            {"path": str(root / "run"), "mode": "0700"},
        ],
        "files": [{"path": str(root / "a.json"), "mode": "0640", "content": "{}\n"}],
    }


def test_check_run_check_run(twice: Run, wanted: dict[str, Any], tmp_path: Path) -> None:
    result = twice("dream_files", **wanted)
    assert [change["was"] for change in result["changes"]] == ["missing"] * 3
    root = tmp_path / "install"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (root, root / "run", root / "a.json")]
    assert modes == [0o755, 0o700, 0o640]
    assert (root / "a.json").read_text() == "{}\n"


def test_what_drifted_comes_back_and_the_rest_is_left(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    run_module("dream_files", **wanted)
    root = tmp_path / "install"
    (root / "run").chmod(0o777)
    (root / "a.json").write_text("edited")
    (root / "mine.txt").write_text("mine")
    result = run_module("dream_files", **wanted)
    assert [change["was"] for change in result["changes"]] == ["mode 0777", "other content"]
    assert (root / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["directory", "file", "parent"])
def test_something_in_the_way_is_said_and_kept(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path, place: str
) -> None:
    root = tmp_path / "install"
    if place == "directory":
        root.write_text("theirs")
    elif place == "parent":
        (tmp_path / "x").write_text("theirs")
        wanted = {"directories": [{"path": str(tmp_path / "x" / "y"), "mode": "0755"}]}
    else:
        (root / "a.json").mkdir(parents=True)
    result = run_module("dream_files", **wanted)
    assert result["dream_error"]["code"] == "IN_THE_WAY"
    assert result["dream_error"]["hint"]


def test_a_link_is_not_written_through(
    run_module: Run, wanted: dict[str, Any], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / "install").mkdir()
    (tmp_path / "install" / "a.json").symlink_to(victim)
    assert run_module("dream_files", **wanted)["failed"] is True
    assert victim.read_text() == "theirs"
    replacing = {**wanted, "files": [{**item, "replace_link": True} for item in wanted["files"]]}
    assert run_module("dream_files", **replacing)["changed"] is True
    assert not (tmp_path / "install" / "a.json").is_symlink()
    assert victim.read_text() == "theirs"


def test_a_service_may_do_with_its_own_directory_what_it_likes(
    twice: Run, run_module: Run, tmp_path: Path
) -> None:
    user = f"{tmp_path.stat().st_uid}:{tmp_path.stat().st_gid}"
    own = {"path": str(tmp_path / "data"), "mode": "0755", "owner": user, "data": True}
    ours = {"path": str(tmp_path / "config"), "mode": "0755", "owner": user}
    twice("dream_files", directories=[own, ours])
    for name in ("data", "config"):
        (tmp_path / name).chmod(0o700)
    changed = run_module("dream_files", directories=[own, ours])["changes"]
    assert [change["path"] for change in changed] == [str(tmp_path / "config")]
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
