"""Serve verified files by their digest over HTTP, on the controller and on hosts that share files.

This module imports nothing from its package, because the controller sends the file itself to a host
(``fleet/peer_sharing.py``): nothing is installed there, and nothing is left.

A request has the token of the run and a digest, and no path. A connection without a token is closed
after a short time, and the number of connections per client is limited.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import select
import socket
import socketserver
import stat
import struct
import threading
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import IO, Any, Callable, Dict, Mapping, Optional, Tuple, TypeVar

#: Seconds without any data after which a client counts as gone.
_IDLE_SECONDS = 60
#: Maximum of concurrent connections; others wait in the kernel's queue, and are dropped if that
#: takes too long.
_MOST_CONNECTIONS = 256
_QUEUE_SECONDS = 20.0
#: Maximum size of a stamp and of a line from the controller.
_LONGEST_STAMP = 65536
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})", re.ASCII)
_TARGET = re.compile(r"/blobs/([0-9a-f]{64})(/pieces)?", re.ASCII)
#: The size of the pieces whose digests are served; fetch/repair.py uses the same size.
PIECE_BYTES = 1024 * 1024
_NAME = re.compile(r"[^/\0]{1,255}")

_Server = TypeVar("_Server", bound="Server")


class Shelf:
    """The verified files in one directory, by digest.

    It opens only regular files directly in ``directory``, no links, and only if the stamp
    (``fetch/disk/stamp.py``) shows that the file is verified and unchanged.
    """

    def __init__(self, directory: str, files: Mapping[str, str]) -> None:
        self._handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files = {
            sha256: name
            for sha256, name in files.items()
            if _NAME.fullmatch(name) and name not in (".", "..")
        }

    def open(self, sha256: str) -> Optional[IO[bytes]]:
        """Open the file with this digest; return None if there is none."""
        name = self._files.get(sha256)
        if name is None:
            return None
        try:
            stream = self._open(name)
        except OSError:
            return None
        if self._is_verified(stream, name, sha256):
            return stream
        stream.close()
        return None

    def has_any(self) -> bool:
        """Return whether there is any file to serve."""
        for sha256 in self._files:
            stream = self.open(sha256)
            if stream is not None:
                stream.close()
                return True
        return False

    def _open(self, name: str) -> IO[bytes]:
        # Non-blocking, because a pipe with that name would wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.fdopen(os.open(name, flags, dir_fd=self._handle), "rb")

    def _is_verified(self, stream: IO[bytes], name: str, sha256: str) -> bool:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            return False
        try:
            with self._open(".%s.stamp" % name) as stamp:
                known = json.loads(stamp.read(_LONGEST_STAMP))
            return bool(
                known["sha256"] == sha256
                and known["size_bytes"] == status.st_size
                and known["mtime_ns"] == status.st_mtime_ns
                and known["inode"] == status.st_ino
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False


class Pieces:
    """The sha256 of each piece of a file, computed once and only as far as requested."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._lock = threading.Lock()

    def digest(self, stream: IO[bytes], number: int) -> bytes:
        """Return the digest of piece ``number`` of the file. Raises OSError."""
        with self._lock:
            known = len(self._digests) // 32
            for missing in range(known, number + 1):
                piece = os.pread(stream.fileno(), PIECE_BYTES, missing * PIECE_BYTES)
                self._digests += hashlib.sha256(piece).digest()
            return bytes(self._digests[number * 32 : (number + 1) * 32])


class Server:
    """Serve the files of ``shelf`` on any number of sockets; use it as a context manager.

    ``bytes_served`` counts the sent bytes.
    """

    #: Seconds until a client must have sent the token.
    stranger_seconds = 10.0
    #: Connections at once of one client.
    most_of_one = 32

    def __init__(self, shelf: Any, token: str = "") -> None:
        self.shelf = shelf
        self.token = token or secrets.token_urlsafe(24)
        self.bytes_served = 0
        self._lock = threading.Lock()
        self._servers: "list[_Threads]" = []
        self._pieces: Dict[str, Pieces] = {}

    def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket. Raises OSError."""
        self._servers.append(_UnixServer(self, path))

    def listen(self, address: str, port: int = 0) -> Tuple[str, int]:
        """Listen on one address of this machine; return the address and port. Raises OSError."""
        kind = _Tcp6Server if ":" in address else _TcpServer
        server = kind(self, (address, port))
        self._servers.append(server)
        host, bound = server.server_address[:2]
        return str(host), int(bound)

    def __enter__(self: _Server) -> _Server:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def pieces(self, sha256: str) -> Pieces:
        """Return the digests of the pieces of a file."""
        with self._lock:
            return self._pieces.setdefault(sha256, Pieces())

    def count(self, served: int) -> None:
        """Add to the number of served bytes."""
        with self._lock:
            self.bytes_served += served


def serve_while_told(server: Server, orders: int, say: Callable[[str], None], lease: float) -> None:
    """Serve until the descriptor ``orders`` closes or sends nothing for ``lease`` seconds.

    Each message is answered with the number of served bytes. The server stops by itself: it reads
    the end of a broken connection, and receives nothing if the network is cut.
    """
    with server:
        while True:
            ready, _, _ = select.select([orders], [], [], lease)
            if not ready or not os.read(orders, 4096):
                return
            say(json.dumps({"served": server.bytes_served}))


class _Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread per connection, with limits in total and per client."""

    daemon_threads = True
    # Do not wait for a hanging client when the run ends.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: Server, address: Any) -> None:
        self.owner = owner
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._clients: "Counter[Any]" = Counter()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for the connection, or close it if its client has too many."""
        client = self.client_of(request, client_address)
        with self._lock:
            is_welcome = self._clients[client] < self.owner.most_of_one
            self._clients[client] += is_welcome
        if is_welcome and self._places.acquire(timeout=_QUEUE_SECONDS):
            super().process_request(request, client_address)
            return
        if is_welcome:
            self._left(client)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection, then release its place."""
        client = self.client_of(request, client_address)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()
            self._left(client)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the client has gone, and its fetch notices that itself."""

    def client_of(self, request: Any, client_address: Any) -> Any:
        """Return the client of a connection."""
        return client_address[0]

    def _left(self, client: Any) -> None:
        with self._lock:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]


class _UnixServer(_Threads):
    address_family = socket.AF_UNIX
    allow_reuse_address = False

    def client_of(self, request: Any, client_address: Any) -> Any:
        """Return the process at the other end: each host uses its own ssh process."""
        size = struct.calcsize("3i")
        with contextlib.suppress(OSError):
            found = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return struct.unpack("3i", found)[0]
        return 0


class _TcpServer(_Threads):
    allow_reuse_address = True


class _Tcp6Server(_TcpServer):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of ``/blobs/<sha256>`` (one range at most) and ``/blobs/<sha256>/pieces``."""

    protocol_version = "HTTP/1.1"
    server_version = "dream-runner"
    sys_version = ""
    timeout = _IDLE_SECONDS

    @property
    def _owner(self) -> Server:
        assert isinstance(self.server, _Threads)
        return self.server.owner

    def setup(self) -> None:
        """Begin a connection, with a short timeout until it has sent the token."""
        super().setup()
        self._patience = threading.Timer(self._owner.stranger_seconds, self._hang_up)
        self._patience.daemon = True
        self._patience.start()

    def finish(self) -> None:
        """End a connection."""
        self._patience.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no log: the report of each host lists what was fetched."""

    def address_string(self) -> str:
        """Return an empty string: a client on a Unix socket has no address."""
        return ""

    def _answer(self, *, with_body: bool) -> None:
        if not self._is_member():
            self.close_connection = True
            self._refuse(HTTPStatus.UNAUTHORIZED)
            return
        self._patience.cancel()
        match = _TARGET.fullmatch(self.path)
        stream = self._owner.shelf.open(match[1]) if match else None
        if match is None or stream is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with stream:
            if match[2]:
                self._send_pieces(stream, match[1], with_body)
            else:
                self._send(stream, match[1], with_body)

    def _is_member(self) -> bool:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        expected = self._owner.token
        return kind == "Bearer" and hmac.compare_digest(token.encode(), expected.encode())

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, stream: IO[bytes], sha256: str, with_body: bool) -> None:
        size = os.fstat(stream.fileno()).st_size
        asked = self._range(size, '"%s"' % sha256)
        if asked is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", "bytes */%d" % size)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end, is_part = asked
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK)
        if is_part:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, end - 1, size))
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"%s"' % sha256)
        self.end_headers()
        if with_body and end > start:
            self._send_bytes(stream, start, end - start)

    def _send_pieces(self, stream: IO[bytes], sha256: str, with_body: bool) -> None:
        """Send the digests of the file's pieces as soon as they are computed."""
        count = -(-os.fstat(stream.fileno()).st_size // PIECE_BYTES)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(count * 32))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        pieces = self._owner.pieces(sha256)
        try:
            for number in range(count if with_body else 0):
                self.wfile.write(pieces.digest(stream, number))
        except OSError:
            self.close_connection = True

    def _send_bytes(self, stream: IO[bytes], start: int, count: int) -> None:
        self.wfile.flush()
        sent = 0
        try:
            sent = self.connection.sendfile(stream, start, count)
        except OSError:
            # The client has enough or has gone; close the connection.
            self.close_connection = True
        finally:
            self._owner.count(sent or max(0, stream.tell() - start))
        if sent < count:
            self.close_connection = True

    def _range(self, size: int, etag: str) -> Optional[Tuple[int, int, bool]]:
        """Return start, end and whether it is a part; None for an invalid range."""
        said = self.headers.get("Range", "")
        match = _RANGE.fullmatch(said)
        if not match or self.headers.get("If-Range", etag) != etag:
            return 0, size, False
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        return (start, end, True) if start < end else None


def run(request: Dict[str, Any], orders: int, say: Callable[[str], None], address: str) -> None:
    """Serve this host's files that ``request``, the controller's first message, lists.

    ``address`` is the one through which the controller reached this host, not a wildcard.
    """
    server = Server(Shelf(request["directory"], request["files"]), request["token"])
    if not server.shelf.has_any():
        raise FileNotFoundError("none of the files is present and verified")
    host, port = server.listen(address, int(request["port"]))
    say(json.dumps({"address": host, "port": port}))
    serve_while_told(server, orders, say, float(request["lease"]))
