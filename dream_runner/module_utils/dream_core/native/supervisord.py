"""supervisord with one program: what runs, asked of itself over its socket.

A daemon is known by its answer, never by a pid file: a killed one leaves pid
file and socket behind, and the id in it may be another program's by now.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import shlex
import stat
import time
import xmlrpc.client
from configparser import Error as ConfigError
from configparser import RawConfigParser
from typing import Any, Dict, List, Optional, Sequence

from ..errors import EngineError, UsageError
from ..network.unix_http import UnixConnection
from ..system import atomic
from ..system.process import start_detached
from ..system.processes import await_end, command_lines, end_processes, is_alive

_RPC_SECONDS = 15.0
_START_SECONDS = 20.0
_STOP_SECONDS = 30.0
#: The longest path that fits into the address of a Unix socket (108 with its final zero).
_ADDRESS_LIMIT = 107
#: supervisord binds ``<path>.<pid>`` first; a pid has at most seven digits (PID_MAX_LIMIT).
_SOCKET_PATH_LIMIT = _ADDRESS_LIMIT - len(".4194304")
#: A short name for the directory in which the daemon is started: of any depth.
_START_DIRECTORY = "/proc/self/cwd"


class Program:
    """One program and the daemon that keeps it running, as paths and words."""

    def __init__(self, install_dir: str, name: str, command: Sequence[str], log: str) -> None:
        self.name = name
        self.argv = list(command)
        self.log = log
        self.directory = install_dir
        self.base = os.path.join(install_dir, "supervisor")
        self.config = os.path.join(self.base, "supervisord.conf")
        self.socket_path = os.path.join(install_dir, "run", "supervisor.sock")
        names = ("supervisord.log", "supervisord.out", "supervisord.pid")
        #: What a running daemon holds open or has written; nobody else may write there.
        self.files = [log, *(os.path.join(self.base, name) for name in names)]

    def _address(self) -> str:
        """Return the socket as the daemon can bind it, and supervisorctl from its directory."""
        if len(os.fsencode(self.socket_path)) <= _SOCKET_PATH_LIMIT:
            return self.socket_path
        return os.path.join(_START_DIRECTORY, os.path.relpath(self.socket_path, self.directory))

    def text(self) -> str:
        """Return the configuration file: a daemon that stays small and writes few files."""
        lines = [
            "; Written by dream-runner; changes are lost.",
            "[unix_http_server]",
            "file = " + _escaped(self._address()),
            "chmod = 0600",
            "",
            "[supervisord]",
            "nodaemon = true",
            "umask = 077",
            "logfile = " + _escaped(os.path.join(self.base, "supervisord.log")),
            "logfile_maxbytes = 1MB",
            "logfile_backups = 0",
            "pidfile = " + _escaped(os.path.join(self.base, "supervisord.pid")),
            "identifier = dream-runner",
            "directory = " + _escaped(self.directory),
            "strip_ansi = true",
            "",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
            "",
            "[supervisorctl]",
            "serverurl = unix://" + _escaped(self._address()),
            "",
            "[program:%s]" % self.name,
            "command = " + " ".join(_quoted(word) for word in self.argv),
            "directory = " + _escaped(self.directory),
            "autostart = true",
            "autorestart = true",
            "startsecs = 1",
            "startretries = 5",
            "stopsignal = TERM",
            "stopwaitsecs = 15",
            "stopasgroup = true",
            "killasgroup = true",
            "redirect_stderr = true",
            "stdout_logfile = " + _twice(self.log),
            "stdout_logfile_maxbytes = 10MB",
            "stdout_logfile_backups = 0",
        ]
        return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    """Return ``value`` as supervisord reads it back: it expands ``%``."""
    if "\n" in value or "\r" in value:
        raise UsageError("a line break in %r" % value, code="BAD_PATH")
    return value.replace("%", "%%")


def _twice(value: str) -> str:
    """Return a program's log as supervisord reads it back: it expands that one twice."""
    return _escaped(_escaped(value))


def _quoted(word: str) -> str:
    if word and all(char.isalnum() or char in "/._-+=:@," for char in word):
        return word
    return _escaped('"%s"' % word.replace("\\", "\\\\").replace('"', '\\"'))


# --- ask ----------------------------------------------------------------------


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__()
        self._path, self._seconds = path, seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # Kept where close() looks for it; xmlrpc's own one is kept there too.
        if not self._connection[1]:
            self._connection = host, UnixConnection(self._path, self._seconds)
        return self._connection[1]  # type: ignore[return-value]


def ask(socket_path: str, method: str, *arguments: Any, seconds: float = _RPC_SECONDS) -> Any:
    """Call ``method`` of the daemon at ``socket_path``; None when no daemon answers."""
    transport = _Transport(socket_path, seconds)
    proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport, allow_none=True)
    try:
        with contextlib.closing(transport):
            return _call(proxy, "supervisor." + method, arguments)
    except xmlrpc.client.Fault as fault:
        return fault
    except (OSError, http.client.HTTPException, xmlrpc.client.Error, ValueError):
        return None


def _call(proxy: Any, method: str, arguments: Sequence[Any]) -> Any:
    for part in method.split("."):
        proxy = getattr(proxy, part)
    return proxy(*arguments)


def socket_of(config: str) -> str:
    """Return the socket that a configuration file names; empty when it cannot be read."""
    parsed = _parsed(config)
    try:
        path = parsed.get("unix_http_server", "file").replace("%%", "%")
        if path.startswith(_START_DIRECTORY + "/"):
            started_in = parsed.get("supervisord", "directory").replace("%%", "%")
            path = os.path.join(started_in, os.path.relpath(path, _START_DIRECTORY))
    except ConfigError:
        return ""
    return path


def _parsed(config: str) -> RawConfigParser:
    """Return what a configuration file says; nothing when it cannot be read."""
    parser = RawConfigParser(interpolation=None)
    try:
        with open(config, encoding="utf-8") as handle:
            parser.read_file(handle)
    except (OSError, UnicodeDecodeError, ConfigError):
        return RawConfigParser(interpolation=None)
    return parser


def orphans(config: str) -> List[int]:
    """Return the programs of ``config`` that run, told by interpreter and program file."""
    heads = []
    parser = _parsed(config)
    for section in parser.sections():
        if section.startswith("program:"):
            with contextlib.suppress(ConfigError, ValueError):
                heads.append(shlex.split(parser.get(section, "command").replace("%%", "%"))[:2])
    return [
        pid
        for pid, argv in command_lines().items()
        if len(argv) > 1 and argv[:2] in heads and is_alive(pid)
    ]


def program_info(config: str, program: str) -> Optional[Dict[str, Any]]:
    """Return what the running daemon of ``config`` says of ``program``, or None."""
    path = socket_of(config)
    said = ask(path, "getProcessInfo", program) if path else None
    return said if isinstance(said, dict) else None


def program_state(config: str, program: str) -> Optional[str]:
    """Return the state in supervisord's words (RUNNING, BACKOFF, FATAL ...), or None."""
    info = program_info(config, program)
    return str(info["statename"]) if info else None


def daemons(config: str) -> List[int]:
    """Return the processes that are supervisord with exactly this configuration."""
    return [
        pid
        for pid, argv in command_lines().items()
        if config in argv[1:] and "supervisor.supervisord" in argv[1:] and is_alive(pid)
    ]


def read_program(install_dir: str, name: str) -> Optional[Program]:
    """Return the program that the configuration file below ``install_dir`` describes, or None."""
    found = Program(install_dir, name, [], "")
    try:
        section = dict(_parsed(found.config).items("program:" + name))
        command = shlex.split(section["command"].replace("%%", "%"))
        log = section["stdout_logfile"].replace("%%", "%").replace("%%", "%")
    except (ConfigError, KeyError, ValueError):
        return None
    return Program(install_dir, name, command, log)


def small_environment() -> Dict[str, str]:
    """Return what a daemon needs; above all not the mark of this run, which would end it."""
    user = pwd.getpwuid(os.getuid())
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LANG": "C.UTF-8",
    }


# --- act ----------------------------------------------------------------------


def problem(wanted: Program) -> str:
    """Return why the program is not running as wanted; empty when it is."""
    if _current_text(wanted.config) != wanted.text():
        return "its configuration changed" if os.path.exists(wanted.config) else "it is new"
    state = program_state(wanted.config, wanted.name)
    if state is None:
        return "supervisord does not run"
    if state != "RUNNING":
        return "it is %s" % state.lower()
    if not _runs(wanted):
        return "another command runs"
    return next(filter(None, map(_file_problem, wanted.files)), "")


def _file_problem(path: str) -> str:
    try:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    except OSError:
        return "%s is gone" % os.path.basename(path)
    usable = mode & 0o600 == 0o600 and not mode & 0o022
    return "" if usable else "the mode of %s is %04o" % (os.path.basename(path), mode)


def _current_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _runs(wanted: Program) -> bool:
    """Tell whether the running process has the wanted command line, whatever the file says.

    A kill between writing the file and restarting leaves the two different.
    """
    info = program_info(wanted.config, wanted.name) or {}
    return command_lines().get(int(info.get("pid", 0))) == wanted.argv


def ensure(wanted: Program, python: str, environment: Dict[str, str], restart: bool = False) -> str:
    """Make the program run as wanted; return why something was done, empty when nothing.

    ``python`` has the package supervisor. The daemon is started detached, in a
    session of its own, with nothing but ``environment``.
    """
    why = problem(wanted) or ("what it runs changed" if restart else "")
    if not why:
        return ""
    for path in filter(_file_problem, wanted.files):
        with contextlib.suppress(FileNotFoundError):
            # Nobody's file is changed through a link.
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
    # Left by a killed daemon. None answers (stop made sure), so nobody uses it.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(wanted.socket_path)
    argv = [python, "-m", "supervisor.supervisord", "-n", "-c", wanted.config]
    log = os.path.join(wanted.base, "supervisord.out")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(log, flags, 0o600), "wb") as output:
            # With -n supervisord sets no umask: logs would be made with the caller's.
            start_detached(argv, environment=environment, directory=wanted.directory, output=output)
    except OSError as error:
        raise EngineError(
            "supervisord could not be started: %s" % error,
            code="SUPERVISOR_FAILED",
            where=argv[0],
            hint="run 'dream-runner install' again",
        ) from error


def _await(wanted: Program) -> None:
    """Wait until the program is up or supervisord has given up on it."""
    started = time.monotonic()
    while time.monotonic() - started < _START_SECONDS:
        state = program_state(wanted.config, wanted.name)
        if state == "RUNNING":
            return
        if state in ("FATAL", "EXITED"):
            break
        # A daemon that was forked an instant ago may not be visible yet.
        if time.monotonic() - started > 3 and not daemons(wanted.config):
            break
        time.sleep(0.1)
    raise EngineError(
        "%s does not stay up under supervisord (state: %s)"
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
    """End the daemon of ``config`` and its program; return when both are gone.

    Raises EngineError when a process is left.
    """
    pids = daemons(config)
    path = socket_of(config)
    said = ask(path, "getAllProcessInfo") if path else None
    if isinstance(said, list):
        pids += [int(item["pid"]) for item in said if item["pid"]]
        ask(path, "shutdown")
        await_end(pids, _STOP_SECONDS)
    # The daemons first: they would start their program again.
    left = end_processes(pids)
    # What a daemon that was killed left behind; it still holds its port.
    abandoned = orphans(config)
    left += end_processes(abandoned)
    if left:
        raise EngineError(
            "processes %s do not end" % ", ".join(map(str, left)),
            code="SUPERVISOR_STUCK",
            where=config,
            hint="end them by hand, then run again",
        )
    return pids + abandoned
