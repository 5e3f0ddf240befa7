"""A path that is handed to a module stays that path."""

import os
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core import arguments
from tests.fixtures import hostile

from .conftest import Run


def test_only_the_home_directory_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/$USER")
    assert arguments.path("~/a$HOME") == "/home/$USER/a$HOME"
    assert arguments.path("/srv/${HOME}/{{ x }}") == "/srv/${HOME}/{{ x }}"
    for wrong in (1, None, ["a"]):
        with pytest.raises(TypeError):
            arguments.path(wrong)


@pytest.mark.parametrize("name", ["dollar", "shell", "lookup", "percent"])
def test_state_and_files_go_where_they_were_sent(
    run_module: Run, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / hostile.TEXTS[name].replace("/", "-")
    stamp = {"version": "1", "run_id": "1", "install_dir": str(folder)}
    done: dict[str, Any] = run_module(
        "dream_phase", state_dir=str(folder), phase="docker", state="running", stamp=stamp,
        resources=[], wanted={},
    )  # fmt: skip
    assert not done.get("failed"), done
    assert (folder / "receipts" / "docker.json").is_file()
    made = run_module(
        "dream_files", directories=[{"path": str(folder / "x"), "mode": "0755"}],
        files=[{"path": str(folder / "x" / "f"), "content": "{{ 1 }}", "mode": "0600"}],
    )  # fmt: skip
    assert made["changed"], made
    assert (folder / "x" / "f").read_text() == "{{ 1 }}"
    assert os.listdir(tmp_path) == [folder.name]


def test_a_path_that_is_no_text_is_refused(run_module: Run) -> None:
    done = run_module("dream_context", state_dir=["/x"], settings={}, version="1")
    assert done["failed"]
    assert "path" in done["msg"]
