"""supervisord with one program: running as wanted, whatever was killed before."""

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.native import (
    supervisord,
    supervisord_program,
    supervisord_state,
)
from dream_runner.module_utils.dream_core.system.processes import command_lines, is_alive

from .conftest import Run

PROGRAM = "import os, time\nprint(sorted(os.environ), flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def wanted(tmp_path: Path) -> Iterator[dict[str, Any]]:
    # A space and a percent sign: supervisord splits at the one and expands the other.
    install = tmp_path / "a b%s"
    for name in ("supervisor", "run", "logs"):
        (install / name).mkdir(parents=True)
    (install / "prog.py").write_text(PROGRAM)
    yield {
        "install_dir": str(install),
        "python": sys.executable,
        "program": "engine",
        "command": [sys.executable, str(install / "prog.py"), "--revision=1"],
        "log": str(install / "logs" / "engine.log"),
    }
    supervisord.stop(config(str(install)))
    time.sleep(0.1)
    assert not [a for a in command_lines().values() if any(str(install) in part for part in a)]


def config(install: str) -> str:
    return os.path.join(install, "supervisor", "supervisord.conf")


def info(wanted: dict[str, Any]) -> dict[str, Any]:
    found = supervisord_state.program_info(config(wanted["install_dir"]), "engine")
    assert found is not None
    return found


def test_check_run_check_run(
    run_module: Run, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAM_RUN_ID", "this-run")
    assert run_module("dream_supervisor", check=True, **wanted)["changed"] is True
    assert not os.path.exists(config(wanted["install_dir"]))
    assert run_module("dream_supervisor", **wanted)["changed"] is True
    first = info(wanted)
    assert first["statename"] == "RUNNING"
    assert run_module("dream_supervisor", check=True, **wanted)["action"] == ""
    assert run_module("dream_supervisor", **wanted)["changed"] is False
    assert info(wanted)["pid"] == first["pid"]
    assert "DREAM_RUN_ID" not in Path(wanted["log"]).read_text()
    # Detached: a session of its own.
    assert os.getsid(supervisord_state.daemons(config(wanted["install_dir"]))[0]) != os.getsid(0)

    changed = wanted | {"command": [*wanted["command"][:2], "--revision=2"]}
    assert "configuration" in run_module("dream_supervisor", **changed)["action"]
    assert not is_alive(first["pid"])
    assert run_module("dream_supervisor", restart=True, **changed)["changed"] is True
    assert run_module("dream_supervisor", **changed)["changed"] is False


@pytest.mark.parametrize("umask", [0, 0o002])
def test_a_careless_umask_leaves_nothing_open_and_the_engine_alone(
    run_module: Run, wanted: dict[str, Any], umask: int
) -> None:
    old = os.umask(umask)
    try:
        run_module("dream_supervisor", **wanted)
        first = info(wanted)["pid"]
        assert run_module("dream_supervisor", **wanted)["changed"] is False
    finally:
        os.umask(old)
    assert info(wanted)["pid"] == first
    made = [Path(wanted["log"]), *Path(wanted["install_dir"], "supervisor").iterdir()]
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in made} == {"0o600"}


def kill_daemon(wanted: dict[str, Any]) -> None:
    os.kill(supervisord_state.daemons(config(wanted["install_dir"]))[0], signal.SIGKILL)
    time.sleep(0.3)


def test_survives_a_killed_daemon(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_supervisor", **wanted)
    orphan = info(wanted)["pid"]
    kill_daemon(wanted)
    # Pid file and socket are still there, and the program holds its port.
    assert is_alive(orphan)
    assert os.path.exists(os.path.join(wanted["install_dir"], "run", "supervisor.sock"))
    assert run_module("dream_supervisor", **wanted)["changed"] is True
    assert not is_alive(orphan)
    assert run_module("dream_supervisor", **wanted)["changed"] is False


def test_stop_ends_what_a_killed_daemon_left(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_supervisor", **wanted)
    orphan = info(wanted)["pid"]
    kill_daemon(wanted)
    assert supervisord.stop(config(wanted["install_dir"])) == [orphan]
    assert not is_alive(orphan)


def test_a_lost_socket_or_a_foreign_pid_file(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_supervisor", **wanted)
    os.unlink(os.path.join(wanted["install_dir"], "run", "supervisor.sock"))
    pid_file = Path(wanted["install_dir"]) / "supervisor" / "supervisord.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    assert run_module("dream_supervisor", **wanted)["changed"] is True
    assert len(supervisord_state.daemons(config(wanted["install_dir"]))) == 1
    assert run_module("dream_supervisor", **wanted)["changed"] is False


def test_a_lost_log_and_one_that_is_closed(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_supervisor", **wanted)
    log = Path(wanted["log"])
    log.unlink()
    assert run_module("dream_supervisor", **wanted)["action"] == f"{log.name} is missing"
    before = info(wanted)["pid"]
    log.chmod(0)
    assert run_module("dream_supervisor", **wanted)["action"] == f"the mode of {log.name} is 0000"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    # For that nothing is started anew.
    assert info(wanted)["pid"] == before
    aside = log.rename(log.with_name("elsewhere"))
    aside.chmod(0o644)
    log.symlink_to(aside)
    assert run_module("dream_supervisor", **wanted)["changed"] is True
    assert stat.S_IMODE(aside.stat().st_mode) == 0o644
    assert run_module("dream_supervisor", **wanted)["changed"] is False


def test_a_config_written_but_not_loaded(run_module: Run, wanted: dict[str, Any]) -> None:
    """A kill between the file and the restart leaves the two different."""
    run_module("dream_supervisor", **wanted)
    changed = wanted | {"command": [*wanted["command"][:2], "--revision=2"]}
    new = supervisord_program.Program(
        wanted["install_dir"], "engine", changed["command"], wanted["log"]
    ).text()
    Path(config(wanted["install_dir"])).write_text(new)
    assert "another command" in run_module("dream_supervisor", **changed)["action"]
    assert run_module("dream_supervisor", **changed)["changed"] is False


def test_crashed_program_comes_back(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_supervisor", **wanted)
    before = info(wanted)["pid"]
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and info(wanted)["pid"] in (0, before):
        time.sleep(0.1)
    assert info(wanted)["pid"] not in (0, before)


def test_one_that_cannot_start_says_why(run_module: Run, wanted: dict[str, Any]) -> None:
    broken = wanted | {"command": [sys.executable, wanted["install_dir"] + "/none.py"]}
    error = run_module("dream_supervisor", **broken)["dream_error"]
    assert (error["code"], error["exit_code"]) == ("ENGINE_NOT_STARTED", 8)
    assert "No such file" in error["hint"]


def test_an_install_directory_of_any_depth(run_module: Run, wanted: dict[str, Any]) -> None:
    """A Unix socket's address holds 107 bytes; users do not choose directories by that."""
    shallow = wanted["install_dir"]
    # The longest that was bound by its own path, the first that is not, and a long one.
    longest = max(1, 99 - len(f"{shallow}//run/supervisor.sock"))
    for depth in (longest, longest + 1, 150):
        deep = os.path.join(shallow, "d" * depth)
        for name in ("run", "supervisor", "logs"):
            os.makedirs(os.path.join(deep, name), mode=0o700)
        it = wanted | {"install_dir": deep}
        try:
            assert run_module("dream_supervisor", **it)["changed"] is True
            assert run_module("dream_supervisor", **it)["changed"] is False
            assert supervisord_state.program_state(config(deep), "engine") == "RUNNING"
        finally:
            supervisord.stop(config(deep))
