"""One download for the whole fleet: verified files, served by digest for the time of the run.

The server listens on a Unix socket that every SSH connection carries to its host, so that
it needs no open port, no firewall rule and no route past a jump host, and is encrypted.
``--serve ADDRESS`` adds a plain HTTP port in the local network, for those whose network is
faster than their SSH. Either way a request shows the token of the run, and asks for a digest:
nothing else has a name here.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .. import paths
from ..module_utils.dream_core.errors import IntegrityError, UsageError
from ..module_utils.dream_core.fetch import (
    FetchRequest,
    Network,
    Progress,
    fetch,
    is_present,
)

#: A client that says or takes nothing for so long has gone.
_IDLE_SECONDS = 60
#: More connections at once wait in the kernel's queue.
_MOST_CONNECTIONS = 256
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})", re.ASCII)
_TARGET = re.compile(r"/blobs/([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """A file that hosts need: its digest, size (0: unknown), and where it comes from."""

    file: str
    sha256: str
    size_bytes: int
    urls: tuple[str, ...]

    @property
    def local_path(self) -> str:
        """Return where the file lies on this machine already; empty if it does not."""
        for url in self.urls:
            if url.startswith("package:"):
                return str(paths.catalog() / url.removeprefix("package:"))
            if url.startswith("file:"):
                return unquote(urlsplit(url).path)
        return ""


def wanted(models: Iterable[Mapping[str, Any]]) -> list[Wanted]:
    """Return the files of the models, each digest once."""
    files = {
        str(item["sha256"]): Wanted(
            str(item["file"]),
            str(item["sha256"]),
            int(item.get("size_bytes") or 0),
            tuple(item["urls"]),
        )
        for model in models
        for item in model["files"]
    }
    return list(files.values())


class Store:
    """The verified files of this controller, by digest; what it fetches is kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths: dict[str, str] = {}

    def path(self, sha256: str) -> str | None:
        """Return where the file of this digest lies, or None."""
        return self._paths.get(sha256)

    def provide(
        self, item: Wanted, network: Network, on_progress: Callable[[Progress], None]
    ) -> int:
        """Have ``item`` here, verified; return the bytes that came from its origin.

        Raises DreamError as ``fetch`` does, and IntegrityError for a local file that is
        not what its digest says.
        """
        if item.local_path:
            self._paths[item.sha256] = _verified(item)
            return 0
        path = str(self._directory / item.sha256)
        done = fetch(
            FetchRequest(
                path=path,
                sha256=item.sha256,
                sources=item.urls,
                size_bytes=item.size_bytes,
                mode=0o600,
                network=network,
            ),
            on_progress,
        )
        self._paths[item.sha256] = path
        return done.bytes_fetched


def _verified(item: Wanted) -> str:
    path = item.local_path
    found = is_present(path, item.sha256, item.size_bytes, verify=True, write=False)
    if not found.present:
        raise IntegrityError(
            f"{path} is not the file of that SHA-256: {found.why}",
            code="LOCAL_FILE_WRONG",
            hint="check the path and the digest",
        )
    return path


class Server:
    """Serves a store on a Unix socket, and on a TCP address where one is given.

    Use as a context manager. ``bytes_served`` counts what went out.
    """

    def __init__(self, store: Store, unix_path: str, address: str = "") -> None:
        self.token = secrets.token_urlsafe(24)
        self.bytes_served = 0
        self._lock = threading.Lock()
        self._servers: list[socketserver.BaseServer] = [_UnixServer(self, store, unix_path)]
        self.url = ""
        if address:
            server = _tcp_server(self, store, address)
            self._servers.append(server)
            host, port = server.server_address[:2]
            self.url = f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}"

    def __enter__(self) -> Server:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def peers(self, unix_path: str) -> list[str]:
        """Return the base addresses for a host that finds our socket at ``unix_path``."""
        return [*([self.url] if self.url else []), f"http+unix://{quote(unix_path, safe='')}"]

    def count(self, served: int) -> None:
        """Add to what was served."""
        with self._lock:
            self.bytes_served += served


class _Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    # Waiting for a host that hangs would keep the run from ending.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: Server, store: Store, address: Any) -> None:
        self.owner = owner
        self.store = store
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(address, _Handler)  # type: ignore[call-arg]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is its own affair, and its fetch knows."""


class _UnixServer(_Threads, socketserver.UnixStreamServer):
    pass


class _TcpServer(_Threads, socketserver.TCPServer):
    allow_reuse_address = True


class _Tcp6Server(_TcpServer):
    address_family = socket.AF_INET6


def _tcp_server(owner: Server, store: Store, address: str) -> _TcpServer:
    host, _, port = address.rpartition(":") if address.count(":") == 1 else (address, "", "0")
    kind = _Tcp6Server if ":" in host else _TcpServer
    try:
        return kind(owner, store, (host, int(port)))
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{address!r} cannot be listened on: {error}",
            code="SERVE_ADDRESS",
            where="--serve",
            hint="an address of this machine, with a port or without: 10.0.0.5:8123",
        ) from error


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of ``/blobs/<sha256>``, one range at most."""

    protocol_version = "HTTP/1.1"
    server_version = "dream-runner"
    sys_version = ""
    timeout = _IDLE_SECONDS

    @property
    def _owner(self) -> _Threads:
        assert isinstance(self.server, _Threads)
        return self.server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep no log: what was fetched stands in the report of each host."""

    def address_string(self) -> str:
        return ""

    def _answer(self, *, with_body: bool) -> None:
        if not self._is_member():
            self._refuse(HTTPStatus.UNAUTHORIZED)
            return
        match = _TARGET.fullmatch(self.path)
        path = self._owner.store.path(match[1]) if match else None
        if match is None or path is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            with open(path, "rb") as stream:
                self._send(stream, match[1], with_body)
        except FileNotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _is_member(self) -> bool:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        expected = self._owner.owner.token
        return kind == "Bearer" and hmac.compare_digest(token.encode(), expected.encode())

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, stream: Any, sha256: str, with_body: bool) -> None:
        size = os.fstat(stream.fileno()).st_size
        asked = self._range(size, f'"{sha256}"')
        if asked is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end, is_part = asked
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK)
        if is_part:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{sha256}"')
        self.end_headers()
        if with_body and end > start:
            self._send_bytes(stream, start, end - start)

    def _send_bytes(self, stream: Any, start: int, count: int) -> None:
        self.wfile.flush()
        sent = 0
        try:
            sent = self.connection.sendfile(stream, start, count)
        except OSError:
            # The client has seen enough, or is gone: the connection is of no more use.
            self.close_connection = True
        finally:
            self._owner.owner.count(sent or max(0, stream.tell() - start))
        if sent < count:
            self.close_connection = True

    def _range(self, size: int, etag: str) -> tuple[int, int, bool] | None:
        """Return start, end and whether it is a part; None for one that cannot be."""
        said = self.headers.get("Range", "")
        match = _RANGE.fullmatch(said)
        if not match or self.headers.get("If-Range", etag) != etag:
            return 0, size, False
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        return (start, end, True) if start < end else None


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Return where this controller keeps what it fetched for its fleets (XDG)."""
    base = environment.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    directory = root / "dream-runner" / "blobs"
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
