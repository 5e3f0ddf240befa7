"""Fail closed: with --offline, whoever asks for the network is stopped and named.

Programs find their way out by the proxy of the environment. Here it leads to
this process, which answers every request with a refusal and keeps who asked for
what. What asks nobody and goes by itself is for a network namespace to stop.
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
    """What to put into the environment, and who fell into it."""

    environment: dict[str, str] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)

    @property
    def error(self) -> NetworkError | None:
        """Return the error that names who tried, or None."""
        if not self.attempts:
            return None
        return NetworkError(
            "offline, and yet " + "; ".join(dict.fromkeys(self.attempts)),
            code="OFFLINE_NETWORK",
            hint="what it needs is missing here: give a --bundle that has it",
        )


@contextlib.contextmanager
def armed(offline: bool) -> Iterator[Trap]:
    """Give a trap for the length of a run; without ``offline`` one that does nothing."""
    trap = Trap()
    if not offline:
        yield trap
        return

    class Refusal(socketserver.StreamRequestHandler):
        timeout = 10

        def handle(self) -> None:
            words = self.rfile.readline(4096).decode("latin-1").split()
            what = words[1] if len(words) > 1 else "something"
            trap.attempts.append(f"{_who(self.client_address[1])} asked for {_place(what)}")
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
        # To ask a second time gives the same answer.
        trap.environment |= {"no_proxy": _OWN, "NO_PROXY": _OWN, "PIP_RETRIES": "0"}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield trap
        finally:
            server.shutdown()


def _home() -> str:
    """Return the loopback address that this machine has."""
    found = ip_addresses.loopbacks()
    if not found:
        raise RequirementError(
            "this machine has neither 127.0.0.1 nor ::1, so nothing on it can be reached",
            code="ADDRESS_MISSING",
            hint="bring the loopback interface up: ip link set lo up",
        )
    return found[0]


def _place(target: str) -> str:
    """Return the host of a request; an address may carry what is nobody's business."""
    return target.partition("://")[2].partition("/")[0].rpartition("@")[2] or target


def _who(port: int) -> str:
    """Return the program at the other end of a connection from ``port`` of this machine."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{_name(process)} (pid {process.pid})"
    return "a program of another user"


def _name(process: psutil.Process) -> str:
    """Return what runs: of Python the module or the script too, and never another argument."""
    name = str(process.name())
    what = _of_python(process.cmdline()[1:]) if name.startswith("python") else ""
    return f"{name} {what}" if what else name


def _of_python(words: Sequence[str]) -> str:
    """Return the module, or the name of the script, that Python's arguments name."""
    for index, word in enumerate(words):
        if word == "-m":
            return "-m " + "".join(words[index + 1 : index + 2])
        if word == "-c":
            return ""
        if not word.startswith("-"):
            return os.path.basename(word)
    return ""
