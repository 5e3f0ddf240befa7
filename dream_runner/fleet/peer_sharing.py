"""With ``--share``, hosts that have a file serve it to other hosts during the run.

A host that is up to date, or has just finished, runs a small server (``fetch/blob_server.py`` of
the core) through its existing SSH connection. Program and token arrive on standard input, so
nothing is written on the host. The server listens only on the address at which we reached the
host, and ends with the connection or after a minute without a message from us.

Hosts are not trusted: the address is checked here, and the downloading host verifies the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import shlex
import subprocess
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..module_utils.dream_core.fetch import blob_server
from .blob_store import base_address
from .ssh_sockets import LEASE_SECONDS, Wires

if TYPE_CHECKING:
    from .seen import Seen

_BEAT_SECONDS = 10.0
_START_SECONDS = 20.0
_END_SECONDS = 3.0
#: Maximum number of serving hosts, and of those that one host asks before the controller.
_MOST_SHARERS = 16
_MOST_PEERS = 3
#: Longer lines are rejected: our program does not send them.
_LINE_BYTES = 4096
#: Upper limit of plausible byte counts.
_LARGEST = 2**62

#: Runs on the host. The library is sent as text, so nothing has to be installed there.
PROGRAM = """\
import json, os, sys, types
said = json.loads(sys.stdin.readline())
library = types.ModuleType("blob_server")
sys.modules["blob_server"] = library
exec(compile(said["library"], "blob_server.py", "exec"), library.__dict__)
def say(line):
    os.write(1, line.encode() + b"\\n")
address = os.environ.get("SSH_CONNECTION", "").split()
if len(address) != 4:
    sys.exit("SSH_CONNECTION is not set")
library.run(said, 0, say, address[2])
"""


@dataclass(frozen=True)
class Offer:
    """The files that a host has or will have: directory, and file names by digest."""

    interpreter: str
    directory: str
    files: Mapping[str, str]


@dataclass
class _Share:
    process: subprocess.Popen[bytes]
    url: str
    served: int = 0
    reader: threading.Thread | None = None


class Shares:
    """The hosts that serve files now. Use it as a context manager; it is thread-safe.

    ``offers`` lists for each host of the run the files that it will have when it is done.
    """

    def __init__(self, wires: Wires, token: str, offers: Mapping[str, Offer], port: int = 0):
        self._wires = wires
        self._token = token
        self._offers = offers
        self._port = port
        self._lock = threading.Lock()
        self._shares: dict[str, _Share] = {}
        self._begun: set[str] = set()
        self._closing = threading.Event()
        self._beat = threading.Thread(target=self._beats, daemon=True)

    def __enter__(self) -> Shares:
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bytes_served(self) -> int:
        """Return the bytes served, as reported by the hosts."""
        with self._lock:
            return sum(share.served for share in self._shares.values())

    def begin(self, name: str) -> bool:
        """Start serving from a host. Return False if it cannot, or if enough others do.

        The host's connection is then closed when its server ends.
        """
        with self._lock:
            is_enough = len(self._begun) >= _MOST_SHARERS or name in self._begun
            if is_enough or name not in self._offers or self._closing.is_set():
                return False
            self._begun.add(name)
        share = self._start(name, self._offers[name])
        with self._lock:
            if share is not None and not self._closing.is_set():
                self._shares[name] = share
                return True
            self._begun.discard(name)
        if share is not None:
            _end(share.process)
        return False

    def peers(self, name: str) -> list[str]:
        """Return the base URLs of the hosts that ``name`` should ask.

        The order differs from host to host, so that the load is spread.
        """
        wanted = self._offers[name].files.keys() if name in self._offers else ()
        with self._lock:
            found = [
                (_rank(name, other), share.url)
                for other, share in self._shares.items()
                if other != name and self._offers[other].files.keys() & set(wanted)
                and share.process.poll() is None
            ]  # fmt: skip
        return [url for _, url in sorted(found)[:_MOST_PEERS]]

    def close(self) -> None:
        """Stop all servers and close the connections to their hosts."""
        with self._lock:
            self._closing.set()
            shares = dict(self._shares)
        with ThreadPoolExecutor(max_workers=_MOST_SHARERS) as pool:
            list(pool.map(self._stop, shares, shares.values()))

    def _start(self, name: str, offer: Offer) -> _Share | None:
        command = self._wires.command(name, shlex.join([offer.interpreter, "-I", "-c", PROGRAM]))
        if command is None:
            return None
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        request = {
            "library": Path(blob_server.__file__).read_text(encoding="utf-8"),
            "token": self._token,
            "directory": offer.directory,
            "files": dict(offer.files),
            "port": self._port,
            "lease": LEASE_SECONDS,
        }
        guard = threading.Timer(_START_SECONDS, process.kill)
        guard.start()
        try:
            _write(process, json.dumps(request).encode() + b"\n")
            url = base_url_in(_line(process))
        finally:
            guard.cancel()
        if not url:
            _end(process)
            _output(process).close()
            return None
        share = _Share(process, url)
        share.reader = threading.Thread(target=self._listen, args=(share,), daemon=True)
        share.reader.start()
        return share

    def _listen(self, share: _Share) -> None:
        # Only the reading thread may close the stream: another could while it waits for a line.
        with contextlib.closing(_output(share.process)):
            while line := _line(share.process):
                count = served(line)
                with self._lock:
                    share.served = max(share.served, count)

    def _beats(self) -> None:
        while not self._closing.wait(_BEAT_SECONDS):
            with self._lock:
                shares = list(self._shares.values())
            for share in shares:
                _write(share.process, b".\n")

    def _stop(self, name: str, share: _Share) -> None:
        # One more beat: its reply has the bytes served since the last one.
        _write(share.process, b".\n")
        _end(share.process)
        if share.reader is not None:
            share.reader.join(_END_SECONDS)
        self._wires.close_connection(name)


def base_url_in(line: bytes) -> str:
    """Return the base URL that a host reports, or an empty string if it is invalid.

    A lying host could send other hosts to any address, but not to their own loopback.
    """
    try:
        said = json.loads(line)
        address, port = ipaddress.ip_address(said["address"]), said["port"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    is_port = isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536
    is_usable = not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or getattr(address, "scope_id", None)
    )
    return base_address(str(address), port) if is_port and is_usable else ""


def served(line: bytes) -> int:
    """Return the bytes that a host reports as served; 0 if the report is invalid."""
    try:
        count = json.loads(line)["served"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return count if isinstance(count, int) and 0 <= count < _LARGEST else 0


def offers_of(found: Mapping[str, Seen], names: Collection[str]) -> dict[str, Offer]:
    """Return the files that each host of ``names`` will have when it is done."""
    return {name: _offer(found[name]) for name in names}


def _offer(seen: Seen) -> Offer:
    directory = seen.places()["dream_install_dir"] + "/data/models"
    files = {str(item["sha256"]): str(item["file"]) for item in seen.choice["model"]["files"]}
    return Offer(seen.interpreter, directory, files)


def _rank(name: str, other: str) -> bytes:
    return hashlib.sha256(f"{name}\0{other}".encode()).digest()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    try:
        return _output(process).readline(_LINE_BYTES)
    except (OSError, ValueError):
        return b""


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        assert process.stdin is not None
        process.stdin.write(data)
        process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the server's standard input and wait for its end; kill it if it hangs."""
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
