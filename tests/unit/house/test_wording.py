"""The command in every hint is one that works in the reader's shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dream_runner import wording


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    path = tmp_path / "data home" / "venv-1" / "bin" / "dream-runner"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def environment(tmp_path: Path, *folders: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": ":".join(map(str, folders))}


def link(tmp_path: Path, launcher: str) -> Path:
    folder = tmp_path / ".local" / "bin"
    folder.mkdir(parents=True)
    (folder / "dream-runner").symlink_to(launcher)
    return folder


def test_found_by_name_is_named(tmp_path: Path, launcher: str) -> None:
    folder = link(tmp_path, launcher)
    assert wording.command(environment(tmp_path, folder), launcher) == "dream-runner"
    assert wording.path_line(environment(tmp_path, folder), launcher) is None


def test_not_on_path_is_spelled_out_with_the_line_to_paste(tmp_path: Path, launcher: str) -> None:
    folder = link(tmp_path, launcher)
    asked = environment(tmp_path, Path("/usr/bin"))
    assert wording.command(asked, launcher) == str(folder / "dream-runner")
    assert wording.path_line(asked, launcher) == 'export PATH="$HOME/.local/bin:$PATH"'
    asked["SHELL"] = "/usr/bin/fish"
    assert wording.path_line(asked, launcher) == "fish_add_path ~/.local/bin"


def test_another_command_of_that_name_is_not_ours(tmp_path: Path, launcher: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "dream-runner").write_text("#!/bin/sh\n")
    (other / "dream-runner").chmod(0o755)
    asked = environment(tmp_path, other)
    assert wording.command(asked, launcher) == shlex.quote(launcher)
    # Without a link of ours the line would not help.
    assert wording.path_line(asked, launcher) is None


def test_no_launcher_at_all_still_gives_a_command(tmp_path: Path) -> None:
    said = wording.command(environment(tmp_path), str(tmp_path / "gone"))
    assert said.endswith(" -m dream_runner")


def test_quoted_commands_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wording, "command", lambda *_: "/x/dream-runner")
    text = "run 'dream-runner install' again; dream-runner's log; see ~/dream-runner"
    assert wording.spelled(text) == (
        "run '/x/dream-runner install' again; dream-runner's log; see ~/dream-runner"
    )
