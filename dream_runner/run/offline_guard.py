"""With --offline, stop every program that uses the network, and name it.

The proxy variables point to this process, which refuses every request and records which program
requested which host. Programs that ignore the proxy variables are not stopped here; that
needs a network namespace.
"""

from __future__ import annotations

import contextlib
import os
import socketserver
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import psutil

from ..module_utils.dream_core.errors import NetworkError, RequirementError
from ..module_utils.dream_core.system import ip_addresses

_ANSWER = b"HTTP/1.1 403 dream-runner is offline\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_OWN = "localhost,127.0.0.1,::1"


@dataclass
class Trap:
    """The variables for the environment, and the recorded attempts."""

    environment: dict[str, str] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)

    @property
    def error(self) -> NetworkError | None:
        """Return an error that names the programs, or None if there were none."""
        if not self.attempts:
            return None
        return NetworkError(
            "used the network with --offline: " + "; ".join(dict.fromkeys(self.attempts)),
            code="OFFLINE_NETWORK",
            hint="a file is missing on this machine: use a --bundle that contains it",
        )


@contextlib.contextmanager
def armed(offline: bool) -> Iterator[Trap]:
    """Yield a trap for the duration of a run; without ``offline``, it does nothing."""
    trap = Trap()
    if not offline:
        yield trap
        return

    class Refusal(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            words = self.rfile.readline(4096).decode("latin-1").split()
            what = words[1] if len(words) > 1 else "something"
            trap.attempts.append(f"{_who(self.client_address[1])} requested {_place(what)}")
            while self.rfile.readline(65536).strip():
                pass
            self.wfile.write(_ANSWER)

    home = _home()

    class Server(socketserver.ThreadingTCPServer):
        address_family = ip_addresses.family(home)
        daemon_threads = True

    with Server((home, 0), Refusal) as server:
        address = ip_addresses.base_url(home, server.server_address[1])
        for name in _PROXIES:
            trap.environment |= {name: address, name.upper(): address}
        # A retry would get the same answer.
        trap.environment |= {"no_proxy": _OWN, "NO_PROXY": _OWN, "PIP_RETRIES": "0"}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield trap
        finally:
            server.shutdown()


def _home() -> str:
    """Return a loopback address of this machine."""
    found = ip_addresses.loopbacks()
    if not found:
        raise RequirementError(
            "this machine has no loopback address (127.0.0.1 or ::1)",
            code="ADDRESS_MISSING",
            hint="bring the loopback interface up: ip link set lo up",
        )
    return found[0]


def _place(target: str) -> str:
    """Return the host of a request, without the rest of the URL, which may contain secrets."""
    return target.partition("://")[2].partition("/")[0].rpartition("@")[2] or target


def _who(port: int) -> str:
    """Return the program that connects from the local ``port``."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{_name(process)} (pid {process.pid})"
    return "a program of another user"


def _name(process: psutil.Process) -> str:
    """Return the program's name; for Python with module or script, but no other argument."""
    name = str(process.name())
    what = python_program(process.cmdline()[1:]) if name.startswith("python") else ""
    return f"{name} {what}" if what else name


def python_program(words: Sequence[str]) -> str:
    """Return the module or the script name in Python's arguments."""
    for index, word in enumerate(words):
        if word == "-m":
            return "-m " + "".join(words[index + 1 : index + 2])
        if word == "-c":
            return ""
        if not word.startswith("-"):
            return os.path.basename(word)
    return ""
