"""Keep one program running on a host without a service manager.

A *keeper* process restarts the program whenever it fails, until it exits with a final status. Both
are identified by their command lines, which contain paths of one installation; a process id in a
file could belong to another program. After a reboot nothing runs; the next install starts the
program again.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from typing import Any, Dict, List, Sequence

from ..errors import EngineError
from ..system.process import end_child, small_environment, start_child, start_detached
from ..system.processes import command_lines, end_processes, is_alive, started_at
from ..types.resource import Resource

KEEP = "--keep"
#: Seconds before a program that failed is started again.
PAUSE_SECONDS = 5.0
_START_SECONDS = 10.0
#: Seconds in which the keeper and its program have to stop.
STOP_SECONDS = 30.0


class Program:
    """A program packed in one file, and the document with its task."""

    def __init__(
        self, python: str, program: str, document: str, log: str = "", group: str = ""
    ) -> None:
        self.program = program
        self.document = document
        self.log = log
        #: The program may remove its own directory.
        self.directory = os.path.dirname(os.path.dirname(program))
        self.argv = [python, "-B", program, document]
        self.keeper = [python, "-B", program, KEEP, document]
        keeper = " ".join(shlex.quote(word) for word in self.keeper)
        #: A group that an install has just added is not yet effective for the user's processes.
        self.starter = ["/usr/bin/sg", group, "-c", keeper] if group else self.keeper

    def processes(self) -> Dict[str, List[int]]:
        """Return the running processes as ``{"keeper": [pid], "program": [pid]}``."""
        lines = {pid: argv for pid, argv in command_lines().items() if is_alive(pid)}
        return {
            "keeper": [pid for pid, argv in lines.items() if argv[1:] == self.keeper[1:]],
            "program": [pid for pid, argv in lines.items() if argv[1:] == self.argv[1:]],
        }


def program_of(resource: Resource) -> Program:
    """Return the program that a resource of a receipt describes."""
    return Program("", str(resource["program"]), str(resource["path"]))


def show(program: Program) -> Dict[str, str]:
    """Return the state in systemd's terms: ``{ActiveState, InvocationID}``."""
    found = program.processes()
    if found["program"]:
        invocation = invocation_of(found["program"][0])
        return {"ActiveState": "active", "InvocationID": invocation}
    return {"ActiveState": "activating" if found["keeper"] else "inactive"}


def invocation_of(pid: int) -> str:
    """Return an id of this start of a program, like systemd's ``INVOCATION_ID``."""
    return "%d-%s" % (pid, started_at(pid))


def problem(program: Program) -> str:
    """Return why the program does not run, or an empty string."""
    return "" if program.processes()["keeper"] else "it is not running"


def ensure(program: Program, restart: bool = False, write: bool = True) -> str:
    """Start the program if needed; return why it was started, or an empty string.

    Without ``write`` nothing is changed. Raises EngineError BACKGROUND_NOT_STARTED or
    BACKGROUND_STUCK.
    """
    reason = problem(program) or ("its configuration changed" if restart else "")
    if reason and write:
        stop(program)
        start(program)
    return reason


def stop(program: Program) -> List[int]:
    """Stop the keeper and its program; return their ids. Raises EngineError BACKGROUND_STUCK."""
    found = program.processes()
    # The keeper first, because it would restart its program.
    pids = [*found["keeper"], *found["program"]]
    left = end_processes(found["keeper"], STOP_SECONDS)
    left += end_processes(program.processes()["program"], STOP_SECONDS)
    if left:
        raise EngineError(
            "processes %s do not stop" % ", ".join(map(str, left)),
            code="BACKGROUND_STUCK",
            where=program.program,
            hint="stop them with 'kill -9 %s', then run again" % " ".join(map(str, left)),
        )
    return pids


def start(program: Program) -> None:
    """Start the keeper. Raises EngineError BACKGROUND_NOT_STARTED."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(program.log, flags, 0o600), "ab") as output:
            # Without the variable of this run, by which the wrapper would find and stop it.
            start_detached(
                program.starter,
                environment=small_environment(),
                directory=program.directory,
                output=output,
            )
    except OSError as error:
        raise _not_started(program, str(error)) from error
    deadline = time.monotonic() + _START_SECONDS
    while problem(program):
        if time.monotonic() > deadline:
            raise _not_started(program, "its process exited immediately")
        time.sleep(0.05)


def _not_started(program: Program, reason: str) -> EngineError:
    return EngineError(
        "%s could not be started in the background: %s" % (program.program, reason),
        code="BACKGROUND_NOT_STARTED",
        where=program.log,
        hint="see the end of %s, then run 'dream-runner install' again" % program.log,
    )


# --- the keeper -------------------------------------------------------------------------


def keep(program: Program, final: Sequence[int], pause: float = PAUSE_SECONDS) -> int:
    """Run the program until it exits with 0 or one of ``final``; return that status.

    The program stops with its keeper, however that stops. The keeper also exits when its files are
    gone: the program or somebody else has removed them.
    """
    signal.signal(signal.SIGTERM, _leave)
    os.umask(0o077)
    # Other programs have priority.
    with contextlib.suppress(OSError):
        os.nice(10)
    while os.path.exists(program.program) and os.path.exists(program.document):
        child = start_child(
            program.argv,
            environment=dict(os.environ),
            directory=program.directory,
            output=sys.stdout.fileno(),
        )
        try:
            status = child.wait()
        except SystemExit:
            # Not in the handler, where the interrupted wait still holds its lock.
            end_child(child, STOP_SECONDS)
            raise
        if status in (0, *final):
            return int(status)
        time.sleep(pause)
    return 0


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
