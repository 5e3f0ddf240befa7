"""What a running supervisord says of its program, asked over its socket.

A daemon is known by its answer, never by a pid file: a killed one leaves pid file and socket
behind, and the id in it may be another program's by now.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import xmlrpc.client
from configparser import Error as ConfigError
from configparser import RawConfigParser
from typing import Any, Dict, List, Optional, Sequence

from ..network.unix_http import UnixConnection
from ..system.processes import command_lines, is_alive

_RPC_SECONDS = 15.0
#: A short name for the directory in which the daemon is started: of any depth.
START_DIRECTORY = "/proc/self/cwd"


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
    parsed = configuration(config)
    try:
        path = parsed.get("unix_http_server", "file").replace("%%", "%")
        if path.startswith(START_DIRECTORY + "/"):
            started_in = parsed.get("supervisord", "directory").replace("%%", "%")
            path = os.path.join(started_in, os.path.relpath(path, START_DIRECTORY))
    except ConfigError:
        return ""
    return path


def configuration(config: str) -> RawConfigParser:
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
    parser = configuration(config)
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
