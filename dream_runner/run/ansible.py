"""Run Ansible for one request and pass on its events.

The only file that imports ansible_runner. Its subprocess mode starts ``launch.py``, which becomes
ansible-playbook. Events arrive on our own socket, because that mode returns output only
at the end. The socket is in the abstract namespace, so a killed run leaves no file.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from .. import paths
from ..module_utils.dream_core import redact
from ..module_utils.dream_core.errors import DiskError, DreamError, Interrupted
from ..module_utils.dream_core.system import atomic
from ..version import __version__
from . import extra_vars, prerequisites, scratch
from .channel import Channel
from .environment import ansible_environment, bare_environment
from .events import Event, RunFinished, TaskFinished
from .processes import launch, log_file, marks
from .processes.stopper import Stopper
from .request import Request, Result
from .task_errors import error_of_start, error_of_task

#: Exit status if ansible-runner does not report one.
_UNTOLD = -1000

#: The inventory of a run on this machine.
LOCALHOST = "localhost,"


def execute(request: Request, on_event: Callable[[Event], None]) -> Result:
    """Run the playbook to its end. Call it from the main thread.

    ``on_event`` is called from another thread, one event at a time. The first INT, TERM or HUP
    stops the run gracefully, the second one at once.
    """
    tally = _Tally(on_event, request.run_dir)
    caller = dict(os.environ)
    with (
        scratch.directory_of(request.run_dir) as work,
        Channel(request.run_id, tally.take) as channel,
        Stopper(request.run_id, channel.close) as stopper,
        bare_environment(),
    ):
        rc = _start(request, work, channel.path, caller)
        stopper.finish()
        channel.drain()
    return tally.result(rc, stopper.requested)


def execute_among_others(
    request: Request, on_event: Callable[[Event], None], caller: Mapping[str, str]
) -> Result:
    """Run the playbook to its end while other runs may be active. Call it from any thread.

    The caller handles signals and ``bare_environment`` and ends leftover processes; ``caller`` is
    its environment.
    """
    tally = _Tally(on_event, request.run_dir)
    with (
        scratch.directory_of(request.run_dir) as work,
        Channel(request.run_id, tally.take) as channel,
    ):
        rc = _start(request, work, channel.path, caller)
        channel.drain()
    return tally.result(rc, False)


def _start(request: Request, work: Path, socket_path: str, caller: Mapping[str, str]) -> int:
    """Run ansible-playbook below ansible-runner and return its exit status."""
    prerequisites.require()
    # Imported here because it takes 0.2 s and only a run needs it.
    from ansible_runner import run_command

    answers = work / "variables.json"
    scratch.write(answers, extra_vars.document(*_variables(request, socket_path)))
    argv = _playbook_command(request, answers)
    environment = _environment(request, work, socket_path, caller)
    passwords = launch.Passwords(
        request.reach.password if request.reach else None, request.become_password
    )
    redact.remember(filter(None, (passwords.connection, passwords.become)))
    message = launch.encode(argv, environment, os.getpid(), passwords)
    log = request.run_dir / "log.txt"
    with _pipe_with(message) as stdin, log_file.opened(log) as output:
        try:
            _, _, rc = run_command(
                executable_cmd=sys.executable,
                cmdline_args=["-m", "dream_runner.run.processes.launch"],
                input_fd=stdin,
                output_fd=output,
                error_fd=output,
                private_data_dir=str(work),
                host_cwd=str(paths.content()),
                quiet=True,
            )
        except OSError:
            # It could not write its own files; the events show how the run ended.
            return _UNTOLD
    return int(rc)


def _variables(request: Request, socket_path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the variables of the playbook: data, and templates."""
    about_run = {"id": request.run_id, "socket": socket_path, "version": __version__}
    data = {**request.variables, "dream_run": about_run}
    if request.reach is None:
        return data, {}
    # Each host has its own socket.
    templates = {"dream_run": {**extra_vars.unsafe(about_run), "socket": request.reach.socket}}
    return data, {**request.reach.templates, **templates}


def _playbook_command(request: Request, answers: Path) -> list[str]:
    command = [sys.executable, "-m", "ansible", "playbook", str(paths.playbook(request.playbook))]
    command += ["--extra-vars", f"@{answers}"]
    if request.reach is None:
        command += ["--inventory", LOCALHOST]
    else:
        for inventory in request.reach.inventories:
            command += ["--inventory", inventory]
        for file in request.reach.vault_password_files:
            command += ["--vault-password-file", file]
        command += ["--limit", request.reach.limit, "--forks", str(request.reach.forks)]
    if request.tags:
        command += ["--tags", ",".join(request.tags)]
    if request.check:
        command += ["--check", "--diff"]
    return command


def _environment(
    request: Request, work: Path, socket_path: str, caller: Mapping[str, str]
) -> dict[str, str]:
    kept = ansible_environment(work, caller)
    kept |= {**request.environment, "DREAM_SOCKET": socket_path}
    kept |= marks.of_this_wrapper(request.run_id, str(request.run_dir))
    # Files that a killed module unpacked are removed with this run or the next one.
    kept["TMPDIR"] = str(_private_directory(work / "tmp"))
    if request.reach is None:
        # Files that an action copies are kept where this run, or the next one, removes them.
        kept["ANSIBLE_REMOTE_TEMP"] = str(work / "ansible" / "remote")
    return kept


class _Tally:
    """Collect counts and the last error from the events.

    The last error ended the run: earlier ones were handled by a rescue, whose error is better.
    """

    def __init__(self, on_event: Callable[[Event], None], run_dir: Path) -> None:
        self._on_event = on_event
        self._run_dir = run_dir
        self._finished: list[RunFinished] = []
        self._error: DreamError | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self._finished.append(event)
        if isinstance(event, TaskFinished) and event.status in ("failed", "unreachable"):
            self._error = error_of_task(event)
        self._on_event(event)

    def result(self, rc: int, interrupted: bool) -> Result:
        error = self._error
        if rc == _UNTOLD and self._finished and error is None:
            rc = 0
        if interrupted:
            error = Interrupted(
                "stopped before the end; completed work is kept",
                code="INTERRUPTED",
                hint="run the same command again to continue",
            )
        elif rc != 0 and error is None:
            error = error_without_task(rc, self._run_dir)
        return Result(
            rc=rc,
            interrupted=interrupted,
            error=error if rc != 0 or interrupted else None,
            ok=sum(event.ok for event in self._finished),
            changed=sum(event.changed for event in self._finished),
            failed=sum(event.failed + event.unreachable for event in self._finished),
            skipped=sum(event.skipped for event in self._finished),
        )


def error_without_task(rc: int, run_dir: Path) -> DreamError:
    """Return why Ansible itself failed. On a full disk, it cannot even write its message."""
    try:
        scratch.require_room(run_dir)
    except OSError as error:
        return atomic.translate(error, str(run_dir))
    if rc == _UNTOLD:
        return DiskError(
            "the folder of this run became unwritable",
            code="DISK_ERROR",
            where=str(run_dir),
            hint="check the disk and programs that delete files there, then run this again",
        )
    return error_of_start(rc, prerequisites.last_words(run_dir / "log.txt"))


def _private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def _pipe_with(content: bytes) -> Iterator[IO[bytes]]:
    """Yield the reading end of a pipe into which a thread writes ``content``."""
    reader, writer = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as stream:
            stream.write(content)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        yield stream
    thread.join(timeout=5)
