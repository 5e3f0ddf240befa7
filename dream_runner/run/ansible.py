"""Turn one request into one Ansible run and hand on its events.

The only file that imports ansible_runner. Its subprocess mode starts
``launch.py``, which becomes ansible-playbook; events come over our own socket,
because that mode passes output on only when the program has ended. The socket
is in the abstract namespace: a killed run leaves no file.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

from .. import paths
from ..module_utils.dream_core import redact
from ..module_utils.dream_core.errors import DiskError, DreamError, Interrupted
from ..module_utils.dream_core.printable import printable
from ..module_utils.dream_core.system import atomic
from ..version import __version__
from . import extra_vars, prerequisites, scratch
from .events import Event, RunFinished, TaskFinished, parse
from .processes import launch, marks
from .task_errors import error_of_start, error_of_task

#: Seconds between the polite signal and the one that cannot be refused. Two
#: rounds stay below the five seconds in which Ctrl-C promises to have ended.
_PATIENCE_SECONDS = 2.0

#: A log is complete within so many seconds of its run's end; longer lines are split.
_LOG_SECONDS, _LOG_LINE_BYTES = 5.0, 64 * 1024

#: The exit status of a run whose own could not be read.
_UNTOLD = -1000

#: The inventory of a run on this machine.
LOCALHOST = "localhost,"

#: What a caller's environment must not decide: Ansible's settings and our own.
_SCRUBBED_PREFIXES = ("ANSIBLE_", "DREAM_", "PYTHON", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Reach:
    """How a run reaches other machines.

    ``socket`` is where the modules find the life line on the host, as a template. ``templates`` are
    variables that Ansible evaluates for each host: constants of this program, never data.
    """

    inventories: tuple[str, ...]
    limit: str
    socket: str
    templates: Mapping[str, str] = field(default_factory=dict)
    forks: int = 1
    vault_password_files: tuple[str, ...] = ()
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Request:
    """One Ansible run, on this machine or, by ``reach``, on others.

    ``variables`` are data: no string of them is evaluated as a template. They go to
    ansible-playbook in a file of mode 0600 inside ``run_dir`` and hold no secret. ``environment``
    is laid over the caller's. ``run_dir`` is made here and keeps ``log.txt``; everything else in it
    is gone when the run ends.
    """

    playbook: str
    variables: dict[str, Any]
    run_id: str
    run_dir: Path
    reach: Reach | None = None
    become_password: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    check: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """How the run ended; the counts are Ansible's, summed over hosts."""

    rc: int
    interrupted: bool
    error: DreamError | None
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0


def new_run_id() -> str:
    """Return an id that sorts by time and that no other run has."""
    now = time.time_ns()
    second = time.strftime("%Y%m%dT%H%M%S", time.localtime(now // 10**9))
    return f"{second}-{now // 1000 % 10**6:05x}{secrets.token_hex(2)}"


def execute(request: Request, on_event: Callable[[Event], None]) -> Result:
    """Run the playbook to its end; call from the main thread.

    ``on_event`` is called from one other thread, one event at a time. The
    first INT, TERM or HUP ends the run politely, the second at once.
    """
    tally = _Tally(on_event, request.run_dir)
    caller = dict(os.environ)
    with (
        _run_directory(request.run_dir) as work,
        _Channel(request.run_id, tally.take) as channel,
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
    """Run the playbook to its end beside other runs; call from any thread.

    Signals and ``bare_environment`` are the caller's business, and so is to end what is
    left of the run; ``caller`` is its environment.
    """
    tally = _Tally(on_event, request.run_dir)
    with (
        _run_directory(request.run_dir) as work,
        _Channel(request.run_id, tally.take) as channel,
    ):
        rc = _start(request, work, channel.path, caller)
        channel.drain()
    return tally.result(rc, False)


def _start(request: Request, work: Path, socket_path: str, caller: Mapping[str, str]) -> int:
    """Run ansible-playbook below ansible-runner and return its exit status."""
    prerequisites.require()
    # Slow to import (0.2 s), and only a run needs it.
    from ansible_runner import run_command

    answers = work / "variables.json"
    _write_private(answers, extra_vars.document(*_variables(request, socket_path)))
    argv = _playbook_command(request, answers)
    environment = _environment(request, work, socket_path, caller)
    passwords = launch.Passwords(
        request.reach.password if request.reach else None, request.become_password
    )
    redact.remember(filter(None, (passwords.connection, passwords.become)))
    message = launch.encode(argv, environment, os.getpid(), passwords)
    log = request.run_dir / "log.txt"
    with _pipe_with(message) as stdin, _private_log(log) as output:
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
            # Its own notes could not be written; the events tell how the run ended.
            return _UNTOLD
    return int(rc)


def _variables(request: Request, socket_path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the data and the templates that the playbook gets."""
    about_run = {"id": request.run_id, "socket": socket_path, "version": __version__}
    data = {**request.variables, "dream_run": about_run}
    if request.reach is None:
        return data, {}
    # Each host finds its own socket.
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
    # What a killed module leaves unpacked goes with the run, or with the next one.
    kept["TMPDIR"] = str(_private_directory(work / "tmp"))
    if request.reach is None:
        # What an action still has to copy lies where the run's end, or the next run, removes it.
        kept["ANSIBLE_REMOTE_TEMP"] = str(work / "ansible" / "remote")
    return kept


def ansible_environment(work: Path, caller: Mapping[str, str]) -> dict[str, str]:
    """Return what Ansible may know: the caller's environment less what could steer it."""
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith(_SCRUBBED_PREFIXES) and not prerequisites.is_locale(name)
    }
    content, package = paths.content(), paths.PACKAGE
    return {
        **prerequisites.user_environment(),
        **kept,
        **prerequisites.locale_environment(),
        "PYTHONPATH": str(package.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_CONFIG": str(content / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(work / "ansible" / "tmp"),
        "ANSIBLE_ROLES_PATH": str(content / "roles"),
        "ANSIBLE_LIBRARY": str(content / "library"),
        "ANSIBLE_MODULE_UTILS": str(package / "module_utils"),
        "ANSIBLE_ACTION_PLUGINS": str(package / "plugins" / "action"),
        "ANSIBLE_LOOKUP_PLUGINS": str(package / "plugins" / "lookup"),
        "ANSIBLE_CALLBACK_PLUGINS": str(package / "plugins" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "dream_events",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        # Modules reach the interpreter through a pipe: no copy of them on disk to be left behind.
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "1",
    }


class _Tally:
    """Counts and the last error, taken from the events as they pass.

    The last one ended the run: those before it led to a rescue, which knows more.
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
                "stopped before the end; nothing is lost",
                code="INTERRUPTED",
                hint="run the same command again to continue",
            )
        elif rc != 0 and error is None:
            error = _unexplained(rc, self._run_dir)
        return Result(
            rc=rc,
            interrupted=interrupted,
            error=error if rc != 0 or interrupted else None,
            ok=sum(event.ok for event in self._finished),
            changed=sum(event.changed for event in self._finished),
            failed=sum(event.failed + event.unreachable for event in self._finished),
            skipped=sum(event.skipped for event in self._finished),
        )


def _unexplained(rc: int, run_dir: Path) -> DreamError:
    """Return why Ansible itself failed: on a full disk it cannot even say so."""
    try:
        scratch.require_room(run_dir)
    except OSError as error:
        return atomic.translate(error, str(run_dir))
    if rc == _UNTOLD:
        return DiskError(
            "the folder of this run could not be written while it ran",
            code="DISK_ERROR",
            where=str(run_dir),
            hint="check the disk and who else removes files there, then run again",
        )
    return error_of_start(rc, prerequisites.last_words(run_dir / "log.txt"))


class _Channel:
    """The socket of a run: takes lines from any number of senders, one event at a time.

    Closing it ends every module that holds it (``dream_core/system/lifeline.py``).
    """

    def __init__(self, run_id: str, on_event: Callable[[Event], None]) -> None:
        self.path = f"@dream-runner-{run_id}-{secrets.token_hex(8)}"
        self._on_event = on_event
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._readers: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> _Channel:
        self._server.bind("\0" + self.path[1:])
        self._server.listen(64)
        self._worker = threading.Thread(target=self._dispatch, daemon=True)
        self._worker.start()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._events.put(None)
        self._worker.join(timeout=5)

    def close(self) -> None:
        """End the life line of everything that holds it."""
        for connection in [self._server, *self._connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def drain(self) -> None:
        """Wait until what was sent before the senders ended has been handed on."""
        for reader in self._readers:
            reader.join(timeout=2)
        self._events.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if not _is_ours(connection):
                connection.close()
                continue
            self._connections.append(connection)
            reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = parse(json.loads(line))
                    if event is not None:
                        self._events.put(event)

    def _dispatch(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._on_event(event)
            finally:
                self._events.task_done()
        self._events.task_done()


def _is_ours(connection: socket.socket) -> bool:
    """Tell whether the other end is this user or root; an abstract socket has no file mode."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return uid in (0, os.getuid())


class Stopper:
    """Ends a run on INT, TERM and HUP: politely first, at once the second time.

    ``let_go`` is called between: it ends the life lines of the run.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, run_id: str, let_go: Callable[[], None]) -> None:
        self.requested = False
        self._run_id = run_id
        self._let_go = let_go
        self._previous: dict[signal.Signals, Any] = {}
        self._helper: threading.Thread | None = None

    def __enter__(self) -> Stopper:
        for number in self._SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def finish(self) -> None:
        """Wait for a stop in progress; then see that nothing of the run is left.

        A killed ansible-playbook leaves its workers and their modules running.
        """
        if self._helper is not None:
            self._helper.join()
        self._end(processes_of(self._run_id))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            _signal_all(processes_of(self._run_id), signal.SIGKILL)
            return
        self.requested = True
        self._helper = threading.Thread(target=self._stop, daemon=True)
        self._helper.start()

    def _stop(self) -> None:
        family = processes_of(self._run_id)
        # The interrupt lets ansible-playbook end its workers in order; it also goes
        # to the modules, which sit in sessions of their own.
        _signal_all(family, signal.SIGINT)
        self._let_go()
        self._end(_alive_after(self._run_id, family))

    def _end(self, family: list[psutil.Process]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if family:
                _signal_all(family, number)
                family = _alive_after(self._run_id, family)


def processes_of(run_id: str) -> list[psutil.Process]:
    """Return the processes that carry the mark of ``run_id``, and all below them.

    The descendants are listed too because a privileged child hides its
    environment from an ordinary user.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if marks.is_marked(process, (run_id,)):
                found[process.pid] = process
                found.update({child.pid: child for child in process.children(recursive=True)})
    found.pop(os.getpid(), None)
    return list(found.values())


def _alive_after(run_id: str, family: list[psutil.Process]) -> list[psutil.Process]:
    """Return who of ``family``, or of its offspring, still runs when patience ends."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        _, alive = psutil.wait_procs(family, timeout=0.1)
        alive = [process for process in alive if is_alive(process)]
        if not alive and not (family := processes_of(run_id)):
            return []
        family = alive or family
        if time.monotonic() > deadline:
            return family


def is_alive(process: psutil.Process) -> bool:
    """Tell whether the process still does something; a zombie only waits to be collected."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal_all(family: list[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            try:
                process.send_signal(number)
            except psutil.AccessDenied:
                _signal_privileged(process.pid, number)


def _signal_privileged(pid: int, number: signal.Signals) -> None:
    """Signal a child that runs as root through sudo, where sudo does not ask."""
    import subprocess

    subprocess.run(
        ["sudo", "-n", "kill", f"-{number.name[3:]}", str(pid)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=5,
        check=False,
    )


@contextlib.contextmanager
def _run_directory(run_dir: Path) -> Iterator[Path]:
    """Give a private working directory that is gone afterwards.

    Where the state directory cannot be written, is full, has no file locks, or a name that
    Ansible would read as something else, the run goes on in a temporary one.
    """
    work = run_dir / "work"
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        work.mkdir(mode=0o700)
        scratch.require(work)
    except OSError:
        with contextlib.suppress(OSError):
            work.rmdir()
        work = scratch.make()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def _pipe_with(content: bytes) -> Iterator[IO[bytes]]:
    """Give the reading end of a pipe that holds ``content``, written by a thread."""
    reader, writer = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as stream:
            stream.write(content)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        yield stream
    thread.join(timeout=5)


@contextlib.contextmanager
def _private_log(path: Path) -> Iterator[IO[bytes]]:
    try:
        # Ansible fails at its very end where it cannot write out its log.
        scratch.require_room(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError:
        handle = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(handle, "wb", buffering=0) as log, _filtered_into(log) as stream:
        yield stream


@contextlib.contextmanager
def _filtered_into(log: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give the writing end of a pipe; the log gets its text without controls or secrets."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=_copy_lines, args=(reader, log), daemon=True)
    thread.start()
    with os.fdopen(writer, "wb") as stream:
        yield stream
    # A process that outlives Ansible may still hold the pipe.
    thread.join(timeout=_LOG_SECONDS)


def _copy_lines(reader: int, log: IO[bytes]) -> None:
    with os.fdopen(reader, "rb") as lines, contextlib.suppress(OSError, ValueError):
        while line := lines.readline(_LOG_LINE_BYTES):
            text = printable(redact.clean(line.decode("utf-8", "replace")))
            log.write(text.encode("utf-8", "replace"))


@contextlib.contextmanager
def bare_environment() -> Iterator[None]:
    """Hide the caller's environment from ansible-runner, which writes it to a file."""
    saved = dict(os.environ)
    keep: dict[str, str] = {n: saved[n] for n in ("PATH", "HOME") if n in saved}
    keep |= prerequisites.locale_environment()
    keep["PYTHONPATH"] = str(paths.PACKAGE.parent)
    os.environ.clear()
    os.environ.update(keep)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _write_private(path: Path, text: str) -> None:
    """Write a new file of mode 0600. Raises DiskError or PrivilegeError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise atomic.translate(error, str(path)) from error
