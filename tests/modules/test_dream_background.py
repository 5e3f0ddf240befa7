"""A program kept running without a service manager: started again, stopped, and left alone."""

import grp
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.errors import EngineError
from dream_runner.module_utils.dream_core.native import background
from dream_runner.module_utils.dream_core.records import receipt, survey
from dream_runner.module_utils.dream_core.resources import observed_host, registry
from dream_runner.module_utils.dream_core.system.processes import command_lines, is_alive
from dream_runner.module_utils.dream_core.undo import uninstall
from dream_runner.module_utils.dream_core.upgrade import progress

from .conftest import Run

#: What upgrade.pyz does with its words, and a program that writes how it was started.
PROGRAM = """
import os, sys, time
sys.path.insert(0, {package!r})
from dream_runner.module_utils.dream_core.native import background
if background.KEEP in sys.argv:
    program = background.Program(sys.executable, sys.argv[0], sys.argv[-1])
    sys.exit(background.keep(program, [4], pause=0.1))
print("start", sorted(os.environ), flush=True)
word = open(sys.argv[-1]).read()
if word == "sleep":
    time.sleep(600)
sys.exit(int(word))
"""


@pytest.fixture
def wanted(tmp_path: Path) -> Iterator[dict[str, Any]]:
    folder = tmp_path / "a b%s" / "upgrade"
    folder.mkdir(parents=True)
    package = str(Path(background.__file__).parents[4])
    (folder / "upgrade.pyz").write_text(PROGRAM.format(package=package))
    (folder / "upgrade.json").write_text("sleep")
    yield {
        "program": str(folder / "upgrade.pyz"),
        "document": str(folder / "upgrade.json"),
        "python": sys.executable,
        "log": str(tmp_path / "upgrade.log"),
    }
    background.stop(of(folder))
    assert not [a for a in command_lines().values() if any(str(folder) in part for part in a)]


def of(folder: Path | str) -> background.Program:
    places = (f"{folder}/upgrade.pyz", f"{folder}/upgrade.json")
    return background.Program(sys.executable, *places, f"{folder}/../../upgrade.log")


def folder_of(wanted: dict[str, Any]) -> str:
    return os.path.dirname(wanted["program"])


def program_of(wanted: dict[str, Any]) -> int:
    """Return the process of the program, once there is one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = of(folder_of(wanted)).processes()["program"]
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(Path(wanted["log"]).read_text())


def wait_for_end(wanted: dict[str, Any]) -> None:
    deadline = time.monotonic() + 20
    while any(of(folder_of(wanted)).processes().values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_check_run_check_run(
    run_module: Run, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAM_RUN_ID", "this-run")
    looked = run_module("dream_background", check=True, **wanted)
    assert (looked["changed"], looked["was_running"]) == (True, False)
    assert not any(of(folder_of(wanted)).processes().values())
    assert run_module("dream_background", **wanted)["changed"] is True
    first = program_of(wanted)
    assert run_module("dream_background", check=True, **wanted)["changed"] is False
    assert run_module("dream_background", **wanted)["was_running"] is True
    assert program_of(wanted) == first
    # A session of its own, and without the mark of the run, which would end it.
    assert os.getsid(first) != os.getsid(0)
    assert "DREAM_RUN_ID" not in Path(wanted["log"]).read_text()

    assert run_module("dream_background", restart=True, **wanted)["changed"] is True
    assert not is_alive(first)
    program_of(wanted)
    gone = run_module("dream_background", state="absent", **wanted)
    assert gone["changed"] is True
    assert run_module("dream_background", state="absent", **wanted)["changed"] is False
    assert not any(of(folder_of(wanted)).processes().values())


def test_it_can_be_started_with_a_group(run_module: Run, wanted: dict[str, Any]) -> None:
    """One that the user has only since this very install."""
    group = grp.getgrgid(os.getgid()).gr_name
    assert run_module("dream_background", group=group, **wanted)["changed"] is True
    program_of(wanted)
    assert run_module("dream_background", group=group, **wanted)["changed"] is False
    assert run_module("dream_background", state="absent", **wanted)["changed"] is True
    wait_for_end(wanted)


def test_both_end_when_they_are_told_to(run_module: Run, wanted: dict[str, Any]) -> None:
    """If the keeper had to be killed, every stop would take the whole grace period."""
    run_module("dream_background", **wanted)
    program_of(wanted)
    began = time.monotonic()
    assert len(background.stop(of(folder_of(wanted)))) == 2
    assert time.monotonic() - began < background.STOP_SECONDS / 2


def test_a_killed_program_is_started_again(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_background", **wanted)
    first = program_of(wanted)
    before = background.show(of(folder_of(wanted)))
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while program_of(wanted) == first:
        assert time.monotonic() < deadline
    after = background.show(of(folder_of(wanted)))
    assert (before["ActiveState"], after["ActiveState"]) == ("active", "active")
    assert before["InvocationID"] != after["InvocationID"]


def test_a_killed_keeper_takes_its_program_along(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_background", **wanted)
    first = program_of(wanted)
    os.kill(of(folder_of(wanted)).processes()["keeper"][0], signal.SIGKILL)
    wait_for_end(wanted)
    assert not is_alive(first)
    assert background.show(of(folder_of(wanted)))["ActiveState"] == "inactive"
    assert run_module("dream_background", **wanted)["changed"] is True


@pytest.mark.parametrize("status", ["0", "4"])
def test_an_end_for_good_is_the_end(run_module: Run, wanted: dict[str, Any], status: str) -> None:
    Path(wanted["document"]).write_text(status)
    background.start(of(folder_of(wanted)))
    wait_for_end(wanted)
    assert Path(wanted["log"]).read_text().count("start") == 1


def test_a_failure_is_not(run_module: Run, wanted: dict[str, Any]) -> None:
    Path(wanted["document"]).write_text("1")
    run_module("dream_background", **wanted)
    deadline = time.monotonic() + 20
    while Path(wanted["log"]).read_text().count("start") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # A program that has removed itself is not looked for again.
    os.unlink(wanted["program"])
    wait_for_end(wanted)


def test_the_receipts_know_it(run_module: Run, wanted: dict[str, Any], tmp_path: Path) -> None:
    resource = {
        "kind": "background",
        "name": "dream-runner-upgrade",
        "program": wanted["program"],
        "path": wanted["document"],
        "origin": "made",
    }
    assert receipt.identity(resource) == ("background", wanted["document"])
    run_module("dream_background", **wanted)
    (seen,) = registry.observe_all([resource])
    assert seen["seen"] == {"present": True, "active": "active"}
    host = observed_host.Host([seen])
    assert survey.drift(seen, host) is None
    state = tmp_path / "state"
    install = str(tmp_path / "a b%s")
    document = {"schema": 2, "phase": "models", "state": "done", "install_dir": install}
    assert receipt.write(str(state), {**document, "resources": [seen]}) is None
    answer = uninstall.remove(str(state), str(tmp_path), purge=False)
    assert answer["removed"] == ["background dream-runner-upgrade"]
    assert not any(of(folder_of(wanted)).processes().values())
    assert survey.drift(seen, host) == {
        "what": "background dream-runner-upgrade",
        "found": "missing",
    }


def test_status_reads_the_program_and_not_its_last_words(
    run_module: Run, wanted: dict[str, Any]
) -> None:
    paths = progress.Paths(str(Path(folder_of(wanted)).parent))

    def shown() -> dict[str, str]:
        return progress.show_program("x", "background", paths)

    assert shown()["ActiveState"] == "inactive"
    Path(paths.state).write_text('{"stage": "failed", "invocation": "1-1", "why": "bad magic"}')
    assert shown() == {"ActiveState": "failed", "InvocationID": "1-1"}
    run_module("dream_background", **wanted)
    pid = program_of(wanted)
    assert shown() == {"ActiveState": "active", "InvocationID": background.invocation_of(pid)}


def test_what_cannot_start_is_told(wanted: dict[str, Any], tmp_path: Path) -> None:
    missing = background.Program("/nowhere/python", wanted["program"], wanted["document"])
    missing.log = wanted["log"]
    with pytest.raises(EngineError) as error:
        background.ensure(missing)
    assert error.value.code == "BACKGROUND_NOT_STARTED"


def test_what_does_not_end_is_told(
    run_module: Run, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_module("dream_background", **wanted)
    program_of(wanted)
    with monkeypatch.context() as patch:
        patch.setattr(background, "end_processes", lambda pids, *_: list(pids))
        with pytest.raises(EngineError) as error:
            background.stop(of(folder_of(wanted)))
    assert error.value.code == "BACKGROUND_STUCK"
    assert "kill -9" in error.value.hint
