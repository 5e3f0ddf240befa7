"""HTTP/1.1 as far as downloads need it, with limits on everything that arrives.

Headers, chunk frames and trailers have limits of size and time; a body must have the speed that
``Pace`` requires. Numbers are parsed strictly. A violation is a ``SourceFault``: the server's
fault, never a bug. No text from the server gets into a message.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import Any, Dict, List, Mapping, Optional

from ..faults import SourceFault

#: All headers of one answer together: 103 may come before 200, and a hub sends long policies.
HEAD_BYTES = 256 * 1024
_FRAME_BYTES = 4096
_TRAILER_BYTES = 64 * 1024
_RECEIVE_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?: .*)?", re.DOTALL)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class Pace:
    """The stall rule of a connection: a minimum speed."""

    def __init__(self, stall_seconds: float, floor_bytes_per_second: int) -> None:
        self.stall_seconds = stall_seconds
        self._floor = floor_bytes_per_second
        self._waited = 0.0
        self._bytes = 0

    def check(self) -> None:
        """Raise SourceFault if the server is too slow; called before a read, to lose no byte."""
        if self._waited < self.stall_seconds:
            return
        enough = self._bytes >= self._floor * self._waited
        self._waited, self._bytes = 0.0, 0
        if not enough:
            raise SourceFault("STALLED", "the transfer is too slow")

    def note(self, seconds: float, count: int) -> None:
        """Record a read of ``count`` bytes that took ``seconds``."""
        self._waited += seconds
        self._bytes += count


class Budget:
    """The bytes and seconds that one part of an answer may take."""

    def __init__(self, part: str, size_bytes: int, seconds: float) -> None:
        self._part = part
        self._left = size_bytes
        self._end = time.monotonic() + seconds

    def spend(self, count: int) -> None:
        """Use ``count`` bytes. Raises SourceFault if the limit is exceeded."""
        self.require(count)
        self._left -= count

    def require(self, count: int) -> None:
        """Raise SourceFault unless ``count`` bytes are left."""
        if count > self._left:
            what = "%s is too long" % self._part
            raise SourceFault("BAD_ANSWER", what, permanent=True)

    def seconds(self) -> float:
        """Return the remaining seconds. Raises SourceFault if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise SourceFault("STALLED", "%s takes longer than the stall timeout" % self._part)
        return left


class Head:
    """The status and the header fields, by lower-case name."""

    def __init__(self, status: int, minor: int, fields: Mapping[str, List[str]]) -> None:
        self.status = status
        self.minor = minor
        self._fields = fields

    def get(self, name: str) -> str:
        """Return the first value of a field, or ``""``."""
        return self._fields.get(name.lower(), [""])[0]

    def list(self, name: str) -> List[str]:
        """Return the elements of a list field, in lower case."""
        values = ",".join(self._fields.get(name.lower(), [])).lower().split(",")
        return [value.strip() for value in values if value.strip()]

    def length(self) -> Optional[int]:
        """Return the Content-Length, or None. Raises SourceFault if it is not a number."""
        values = set(self.list("Content-Length"))
        if not values:
            return None
        value = values.pop()
        if values or not _NUMBER.fullmatch(value):
            raise SourceFault("BAD_ANSWER", "the Content-Length is not a number")
        return int(value)


class Wire:
    """A connected socket, with a buffer of received bytes."""

    def __init__(self, sock: socket.socket, stall_seconds: float) -> None:
        self.sock = sock
        self.stall_seconds = stall_seconds
        self._ahead = b""

    def send(self, target: str, headers: Mapping[str, str], method: str = "GET") -> None:
        """Send a request without a body. Raises OSError, or SourceFault for invalid characters."""
        lines = ["%s %s HTTP/1.1" % (method, target)]
        lines += ["%s: %s" % item for item in headers.items()]
        if any(_CONTROL.search(line) for line in lines):
            raise SourceFault("BAD_REQUEST", "the request has a control character", permanent=True)
        try:
            head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        except UnicodeEncodeError:
            what = "the request has a character that HTTP does not allow"
            raise SourceFault("BAD_REQUEST", what, permanent=True) from None
        self.sock.settimeout(self.stall_seconds)
        self.sock.sendall(head)

    def head(self, seconds: float) -> Head:
        """Return the head of the answer; skip earlier ones with a status of 1xx."""
        budget = Budget("the head of the answer", HEAD_BYTES, seconds)
        while True:
            found = self._head(budget)
            if found.status >= 200:
                self.sock.settimeout(self.stall_seconds)
                return found
            if found.status == 101:
                raise SourceFault("BAD_ANSWER", "the server switches to another protocol")

    def has_more(self) -> bool:
        """Return whether unexpected bytes have arrived."""
        return bool(self._ahead)

    def line(self, budget: Budget) -> bytes:
        """Read the next line without its end. Raises OSError or SourceFault."""
        searched = 0
        while True:
            end = self._ahead.find(b"\n", searched)
            if end >= 0:
                line, self._ahead = self._ahead[:end], self._ahead[end + 1 :]
                budget.spend(end + 1)
                return line[:-1] if line.endswith(b"\r") else line
            searched = len(self._ahead)
            budget.require(searched)
            self.sock.settimeout(budget.seconds())
            more = self.sock.recv(_RECEIVE_BYTES)
            if not more:
                raise SourceFault(
                    "CONNECTION_LOST", "the connection closed before the end of the answer"
                )
            self._ahead += more

    def readinto(self, view: memoryview) -> int:
        """Read available bytes; return 0 at the end. Raises OSError."""
        if self._ahead:
            count = min(len(view), len(self._ahead))
            view[:count], self._ahead = self._ahead[:count], self._ahead[count:]
            return count
        return self.sock.recv_into(view)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _head(self, budget: Budget) -> Head:
        found = _STATUS.fullmatch(self.line(budget))
        if not found:
            raise SourceFault("BAD_ANSWER", "the answer is not HTTP")
        fields: Dict[str, List[str]] = {}
        last: List[str] = []
        while True:
            line = self.line(budget)
            if not line:
                return Head(int(found.group(2)), int(found.group(1)), fields)
            field = _FIELD.fullmatch(line)
            if line[:1] in b" \t" and last:
                last[-1] += " " + line.strip().decode("latin-1")
            elif field:
                last = fields.setdefault(field.group(1).decode("ascii").lower(), [])
                last.append(field.group(2).decode("latin-1"))


class Response:
    """An answer: its head, and its body without chunk frames."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self.head = head
        self.status = head.status
        self._wire = wire
        codings = head.list("Transfer-Encoding")
        self.chunked = codings == ["chunked"]
        if codings and not self.chunked:
            what = "the body has an unexpected transfer coding"
            raise SourceFault("ENCODED_BODY", what, permanent=True)
        #: The length of the body; None if it ends with the connection or is chunked.
        self.length = None if self.chunked else head.length()
        if head.status in (204, 304):
            self.length = 0
        # Remaining bytes of the body or of the current chunk; None: until the connection closes.
        self._left = 0 if self.chunked else self.length
        self._chunks = 0
        self._over = self.length == 0
        kept = "keep-alive" in head.list("Connection") if head.minor == 0 else True
        self._kept = kept and "close" not in head.list("Connection")

    @property
    def reusable(self) -> bool:
        """Return whether the connection can be reused: the body was read and nothing followed."""
        return self._over and self._kept and not self._wire.has_more()

    def readinto(self, view: memoryview) -> int:
        """Read available body bytes; return 0 at the end. Raises OSError or SourceFault."""
        if self.chunked and not self._left and not self._over:
            self._next_chunk()
        if self._over or not len(view):
            return 0
        if self._left is None:
            return self._wire.readinto(view)
        count = self._wire.readinto(view[: self._left])
        if not count and self.chunked:
            raise SourceFault("TRUNCATED", "the connection closed before the end of the body")
        self._left -= count
        self._over = not self._left and not self.chunked
        return count

    def read(self, most: int, seconds: float) -> bytes:
        """Read at most ``most`` bytes of the body. Raises OSError or SourceFault."""
        budget = Budget("the body", most, seconds)
        buffer = memoryview(bytearray(min(most, _READ_BYTES)))
        content = bytearray()
        while len(content) < most:
            self._wire.sock.settimeout(budget.seconds())
            count = self.readinto(buffer[: most - len(content)])
            if not count:
                break
            content += buffer[:count]
        return bytes(content)

    def _next_chunk(self) -> None:
        seconds = self._wire.stall_seconds
        budget = Budget("the frame of a chunk", _FRAME_BYTES, seconds)
        if self._chunks and self._wire.line(budget):
            raise SourceFault("BAD_ANSWER", "a chunk is longer than announced")
        found = _CHUNK.fullmatch(self._wire.line(budget))
        if not found:
            raise SourceFault("BAD_ANSWER", "the size of a chunk is not a number")
        self._chunks += 1
        self._left = int(found.group(1), 16)
        if not self._left:
            trailers = Budget("the trailer", _TRAILER_BYTES, seconds)
            while self._wire.line(trailers):
                pass
            self._over = True
        self._wire.sock.settimeout(seconds)


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """Connect to a host; return the socket. Raises OSError."""
    sock = socket.create_connection((host, port), seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def secure(sock: socket.socket, context: ssl.SSLContext, host: str, seconds: float) -> Any:
    """Start TLS on a connected socket. Raises OSError (ssl.SSLError is one)."""
    sock.settimeout(seconds)
    return context.wrap_socket(sock, server_hostname=host)
