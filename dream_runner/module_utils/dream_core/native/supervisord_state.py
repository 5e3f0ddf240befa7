"""Query a running supervisord about its program, through its socket.

A daemon is identified by its answer, never by a pid file: a killed daemon leaves its pid file and
socket, and the id may belong to another program by now.
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
#: A relative name, because the path of the daemon's directory may be too long.
START_DIRECTORY = "/proc/self/cwd"


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__()
        self._path, self._seconds = path, seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # Stored where close() expects it, like xmlrpc's own connection.
        if not self._connection[1]:
            self._connection = host, UnixConnection(self._path, self._seconds)
        return self._connection[1]  # type: ignore[return-value]


def ask(socket_path: str, method: str, *arguments: Any, seconds: float = _RPC_SECONDS) -> Any:
    """Call ``method`` of the daemon at ``socket_path``; return None if no daemon answers."""
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
    """Return the socket in a configuration file; empty if the file cannot be read."""
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
    """Parse a configuration file; the result is empty if it cannot be read."""
    parser = RawConfigParser(interpolation=None)
    try:
        with open(config, encoding="utf-8") as handle:
            parser.read_file(handle)
    except (OSError, UnicodeDecodeError, ConfigError):
        return RawConfigParser(interpolation=None)
    return parser


def orphans(config: str) -> List[int]:
    """Return the running programs of ``config``, identified by interpreter and program file."""
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
    """Return the daemon's information about ``program``, or None if no daemon answers."""
    path = socket_of(config)
    said = ask(path, "getProcessInfo", program) if path else None
    return said if isinstance(said, dict) else None


def program_state(config: str, program: str) -> Optional[str]:
    """Return the state in supervisord's terms (RUNNING, BACKOFF, FATAL, ...), or None."""
    info = program_info(config, program)
    return str(info["statename"]) if info else None


def daemons(config: str) -> List[int]:
    """Return the supervisord processes with exactly this configuration file."""
    return [
        pid
        for pid, argv in command_lines().items()
        if config in argv[1:] and "supervisor.supervisord" in argv[1:] and is_alive(pid)
    ]
