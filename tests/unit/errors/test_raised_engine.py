"""How the engines, their packages and a task that failed tell what is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.bundle import packages
from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.containers import (
    compose_project,
    engine,
    engine_child,
    engine_identity,
    engine_images,
)
from dream_runner.module_utils.dream_core.errors import EngineError, from_dict
from dream_runner.module_utils.dream_core.native import supervisord, supervisord_program, venv
from dream_runner.module_utils.dream_core.packages import repository
from dream_runner.module_utils.dream_core.system import tools
from dream_runner.module_utils.dream_core.system.process import Finished
from dream_runner.run.events import TaskFinished
from dream_runner.run.task_errors import error_of_task
from unit.errors.error_codes import ROOT
from unit.errors.raising import raised, told

# --- containers -----------------------------------------------------------------------


def test_a_version_that_must_not_be_used() -> None:
    bad = {"kind": "docker", "version": "29.3.0", "compose": "2.30"}
    error = engine_identity.refusal(bad, {}, "amd")
    assert isinstance(error, EngineError)
    assert (error.code, error.exit_code) == ("DOCKER_KNOWN_BAD", 8)
    assert engine_identity.refusal(bad, {}, "nvidia") is None


def test_a_user_whom_the_engine_refuses() -> None:
    """The role says it: the class, code and hint stand in its task."""
    tasks = yaml.safe_load((ROOT / "roles" / "docker" / "tasks" / "look.yml").read_text())
    (said,) = [task["dream_failure"] for task in tasks if "dream_failure" in task]
    error = from_dict({**said, "class": said["kind"]})
    assert error is not None
    assert (error.code, error.exit_code) == ("DOCKER_DENIED", 4)


PROJECT = {"name": "dream", "services": {}, "networks": {}, "volumes": {}}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> compose_project.Stack:
    """A project in an engine that does what ``docker`` in tmp_path says."""
    (tmp_path / ".env").write_text("")
    monkeypatch.setattr(engine, "info", lambda _: {"NCPU": 2})
    monkeypatch.setattr(engine_images, "images", lambda *_: frozenset())
    monkeypatch.setattr(engine, "lines", lambda *_: ["1"])
    return compose_project.Stack("docker", str(tmp_path), str(tmp_path / ".env"), PROJECT, {})


def settled(stack: compose_project.Stack) -> tuple[str, int]:
    return told(stack.settle, [], write=True, say=lambda _: None)


def test_a_project_that_compose_refuses(
    stack: compose_project.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "inspect", lambda *_: [])
    monkeypatch.setattr(
        engine_child, "child", lambda *_, **__: Finished(15, "KEY is missing a value")
    )
    assert settled(stack) == ("COMPOSE_REFUSED", 8)


def test_containers_of_another_directory(
    stack: compose_project.Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    labels = {layout.DIRECTORY_LABEL: str(tmp_path / "other")}
    one = {"Id": "1", "Name": "/x", "State": {"Status": "running"}, "Config": {"Labels": labels}}
    monkeypatch.setattr(engine, "inspect", lambda *_: [one])
    assert settled(stack) == ("STACK_ELSEWHERE", 2)


def test_an_image_that_the_bundle_lacks(tmp_path: Path) -> None:
    assert told(engine_images.load, "docker", str(tmp_path / "x.tar")) == ("IMAGE_ARCHIVE", 8)


# --- the native engine ----------------------------------------------------------------

REPORT = {"report": lambda *_: None, "environment": {}, "pythons": [sys.executable]}
PINNED = "nothing==1.0 --hash=sha256:" + "0" * 64 + "\n"


def made(tmp_path: Path, text: str | None = PINNED, **more: Any) -> tuple[str, int]:
    requirements = tmp_path / "requirements.txt"
    if text is not None:
        requirements.write_text(text)
    words = {**REPORT, **more}
    return told(venv.ensure, str(tmp_path / "engine"), str(requirements), **words)


def test_lists_of_packages(tmp_path: Path) -> None:
    assert made(tmp_path, None) == ("REQUIREMENTS_UNREADABLE", 2)
    assert made(tmp_path, "# none\n") == ("REQUIREMENTS_EMPTY", 2)


def test_no_python_that_makes_environments(tmp_path: Path) -> None:
    assert made(tmp_path, pythons=["/bin/false"]) == ("PYTHON_VENV_MISSING", 3)
    assert list(tmp_path.glob("engine")) == []


@pytest.mark.parametrize(
    ("said", "code", "exit_code"),
    [
        ("ERROR: No matching distribution found for xllamacpp", "NO_WHEEL", 3),
        ("ensurepip is not available", "PYTHON_VENV_MISSING", 3),
        ("Killed", "VENV_FAILED", 8),
    ],
)
def test_what_pip_says(
    said: str, code: str, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venv, "choose_python", lambda *_: venv.Python(sys.executable, "3.11"))
    monkeypatch.setattr(venv, "run_child", lambda *_, **__: Finished(1, said))
    assert made(tmp_path) == (code, exit_code)


def test_an_environment_that_comes_out_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command ends well, and nothing is there: a disk that loses what was written."""
    monkeypatch.setattr(venv, "choose_python", lambda *_: venv.Python(sys.executable, "3.11"))
    monkeypatch.setattr(
        venv,
        "run_child",
        lambda *_, **__: (tmp_path / "engine").mkdir(exist_ok=True) or Finished(0, ""),
    )
    assert made(tmp_path) == ("VENV_BROKEN", 7)


def program(tmp_path: Path) -> supervisord_program.Program:
    (tmp_path / "run").mkdir()
    (tmp_path / "supervisor").mkdir()
    return supervisord_program.Program(
        str(tmp_path), "engine", ["sleep", "1"], str(tmp_path / "log")
    )


def test_a_supervisor_without_its_python(tmp_path: Path) -> None:
    wanted = program(tmp_path)
    assert told(supervisord.ensure, wanted, "/nonexistent/python", {}) == ("SUPERVISOR_FAILED", 8)


def test_a_supervisor_that_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisord, "daemons", lambda _: [4194303])
    monkeypatch.setattr(supervisord, "end_processes", lambda pids: list(pids))
    error = raised(supervisord.stop, program(tmp_path).config)
    assert (error.code, error.exit_code) == ("SUPERVISOR_STUCK", 8)
    assert "4194303" in str(error)


# --- package sources ------------------------------------------------------------------


def test_a_repository_nobody_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> tools.Ended:
        said = "E: Failed to fetch http://x/InRelease  Could not connect to x:80\n"
        return tools.Ended(100, said, "")

    monkeypatch.setattr(tools, "run", refused)
    wanted = {"kind": "dnf", "name": "docker", "url": "http://x", "files": []}
    assert told(repository.prove, wanted, {}) == ("REPOSITORY_UNREADABLE", 5)


def test_a_bundle_of_packages_that_do_not_exist(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(PINNED)
    (tmp_path / "none").mkdir()
    words = ("download", "--no-index", "--find-links", str(tmp_path / "none"))
    words += ("--dest", str(tmp_path), "--requirement", str(tmp_path / "list"))
    assert told(packages.run_pip, os.environ, *words) == ("NO_WHEEL", 3)


# --- tasks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "code", "exit_code"),
    [
        ("docker", "ENGINE_SETUP_FAILED", 8),
        ("images", "IMAGE_FAILED", 8),
        ("services", "SERVICE_FAILED", 8),
        ("directories", "TASK_FAILED", 1),
    ],
)
def test_a_task_that_fails_in_a_way_nobody_foresaw(phase: str, code: str, exit_code: int) -> None:
    task = TaskFinished(0.0, "localhost", phase, "Do it", "failed", 1.0, message="odd")
    error = error_of_task(task)
    assert (error.code, error.exit_code) == (code, exit_code)
    assert phase in error.where
