"""Keep one program running with supervisord: start, restart and stop the daemon."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import Dict, List

from ..errors import EngineError
from ..system import atomic
from ..system.process import start_detached
from ..system.processes import await_end, command_lines, end_processes
from .supervisord_program import Program
from .supervisord_state import ask, daemons, orphans, program_info, program_state, socket_of

_START_SECONDS = 20.0
_STOP_SECONDS = 30.0


def problem(wanted: Program) -> str:
    """Return why the program is not running as wanted; empty if it is."""
    if _current_text(wanted.config) != wanted.text():
        return "its configuration changed" if os.path.exists(wanted.config) else "it is new"
    state = program_state(wanted.config, wanted.name)
    if state is None:
        return "supervisord is not running"
    if state != "RUNNING":
        return "it is %s" % state.lower()
    if not _runs(wanted):
        return "it runs another command"
    return next(filter(None, map(_file_problem, wanted.files)), "")


def _file_problem(path: str) -> str:
    try:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    except OSError:
        return "%s is missing" % os.path.basename(path)
    usable = mode & 0o600 == 0o600 and not mode & 0o022
    return "" if usable else "the mode of %s is %04o" % (os.path.basename(path), mode)


def _current_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _runs(wanted: Program) -> bool:
    """Return whether the running process has the wanted command line.

    After a kill between writing the file and restarting, it differs from the file.
    """
    info = program_info(wanted.config, wanted.name) or {}
    return command_lines().get(int(info.get("pid", 0))) == wanted.argv


def ensure(wanted: Program, python: str, environment: Dict[str, str], restart: bool = False) -> str:
    """Start or restart the program if needed; return the reason, or an empty string.

    ``python`` has the package supervisor. The daemon is started detached, in its own session, with
    only ``environment``.
    """
    why = problem(wanted) or ("its files changed" if restart else "")
    if not why:
        return ""
    for path in filter(_file_problem, wanted.files):
        with contextlib.suppress(FileNotFoundError):
            # Do not follow a link and change another file.
            if os.path.islink(path):
                os.unlink(path)
            else:
                os.chmod(path, 0o600)
    if not restart and not problem(wanted):
        return why
    stop(wanted.config)
    atomic.write_bytes(wanted.config, wanted.text().encode("utf-8"), 0o600)
    _start(wanted, python, environment)
    _await(wanted)
    return why


def _start(wanted: Program, python: str, environment: Dict[str, str]) -> None:
    # Left by a killed daemon. No daemon uses it, because ``stop`` has just ended it.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(wanted.socket_path)
    argv = [python, "-m", "supervisor.supervisord", "-n", "-c", wanted.config]
    log = os.path.join(wanted.base, "supervisord.out")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(log, flags, 0o600), "wb") as output:
            # With -n supervisord sets no umask, and would create logs with the caller's.
            start_detached(argv, environment=environment, directory=wanted.directory, output=output)
    except OSError as error:
        raise EngineError(
            "supervisord could not be started: %s" % error,
            code="SUPERVISOR_FAILED",
            where=argv[0],
            hint="run 'dream-runner install' again",
        ) from error


def _await(wanted: Program) -> None:
    """Wait until the program is running or supervisord has given up."""
    started = time.monotonic()
    while time.monotonic() - started < _START_SECONDS:
        state = program_state(wanted.config, wanted.name)
        if state == "RUNNING":
            return
        if state in ("FATAL", "EXITED"):
            break
        # A daemon that was just forked may not be visible yet.
        if time.monotonic() - started > 3 and not daemons(wanted.config):
            break
        time.sleep(0.1)
    raise EngineError(
        "%s does not keep running under supervisord (state: %s)"
        % (wanted.name, program_state(wanted.config, wanted.name) or "no daemon"),
        code="ENGINE_NOT_STARTED",
        where=wanted.config,
        hint="the last lines of %s: %s" % (wanted.log, " | ".join(_last_words(wanted))),
    )


def _last_words(wanted: Program) -> List[str]:
    from ..files.logs import last_lines

    fallback = os.path.join(wanted.base, "supervisord.out")
    return last_lines(wanted.log) or last_lines(fallback) or ["it is empty"]


def stop(config: str) -> List[int]:
    """Stop the daemon of ``config`` and its program; wait until both have exited.

    Raises EngineError if a process is left.
    """
    pids = daemons(config)
    path = socket_of(config)
    said = ask(path, "getAllProcessInfo") if path else None
    if isinstance(said, list):
        pids += [int(item["pid"]) for item in said if item["pid"]]
        ask(path, "shutdown")
        await_end(pids, _STOP_SECONDS)
    # The daemons first, because they would restart their program.
    left = end_processes(pids)
    # Programs of a killed daemon, which still hold their ports.
    abandoned = orphans(config)
    left += end_processes(abandoned)
    if left:
        raise EngineError(
            "processes %s do not stop" % ", ".join(map(str, left)),
            code="SUPERVISOR_STUCK",
            where=config,
            hint="stop them by hand, then run again",
        )
    return pids + abandoned
