"""The body of a response, and the information about the file in its headers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import time
from typing import Optional, Tuple

from ..faults import SourceFault, from_exception
from .link import Link
from .wire import Response

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
#: Limits of size and time for reading the body of a redirect or error to keep the connection.
_DRAIN = 64 * 1024
_DRAIN_SECONDS = 2.0
#: Bytes of a small or unexpected answer that are read to identify it.
LOOK_BYTES = 1024


class Body:
    """The bytes of one response, starting at ``position`` in the file.

    ``end`` is the end that the response states, or None.
    """

    def __init__(self, response: Response, link: Link, position: int, end: Optional[int]) -> None:
        self._response = response
        self._link = link
        self.position = position
        self.end = end
        #: The size of the file that this response states; 0 if unknown.
        self.total = 0
        self._looked = b""

    def readinto(self, view: memoryview) -> int:
        """Read available bytes into ``view``; return 0 at the end. Raises SourceFault."""
        if self.end is not None:
            view = view[: self.end - self.position]
        if not len(view):
            return 0
        count = self._given(view) if self._looked else self._read(view)
        self.position += count
        return count

    def look(self) -> bytes:
        """Return the first bytes without consuming them. Raises SourceFault."""
        buffer = memoryview(bytearray(LOOK_BYTES))
        while len(self._looked) < LOOK_BYTES:
            count = self._read(buffer[: LOOK_BYTES - len(self._looked)])
            if not count:
                break
            self._looked += bytes(buffer[:count])
        return self._looked

    def close(self) -> None:
        """End the response; the connection can be reused only if everything was read."""
        if self._looked or not self._response.reusable:
            self._link.close()

    def _given(self, view: memoryview) -> int:
        count = min(len(view), len(self._looked))
        view[:count], self._looked = self._looked[:count], self._looked[count:]
        return count

    def _read(self, view: memoryview) -> int:
        pace = self._link.pace
        pace.check()
        started = time.monotonic()
        try:
            count = self._response.readinto(view)
        except Exception as error:
            self._link.close()
            raise from_exception(error) from error
        pace.note(time.monotonic() - started, count)
        return count


def empty_body(response: Response, link: Link, start: int) -> Body:
    """Return an empty body if a file of unknown size is already complete."""
    found = _UNSATISFIED.fullmatch(response.head.get("Content-Range"))
    drain(response, link)
    if not found or int(found.group(1)) != start:
        raise SourceFault("RANGE_BROKEN", "HTTP 416 for a range inside the file")
    body = Body(response, link, start, start)
    body.total = start
    return body


def content_range(response: Response) -> Tuple[int, int, int]:
    """Return first and last byte and the total (0: unknown). Raises SourceFault RANGE_BROKEN."""
    found = _RANGE.fullmatch(response.head.get("Content-Range"))
    if not found:
        raise SourceFault("RANGE_BROKEN", "HTTP 206 without a usable Content-Range")
    first, last, total = found.groups()
    return int(first), int(last), 0 if total == "*" else int(total)


def strong_etag(response: Response) -> str:
    """Return the strong ETag of a response, or ``""``."""
    etag = response.head.get("ETag")
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]{0,510}"', etag) else ""


def stated_digest(response: Response) -> str:
    """Return the sha256 in a hub's or a Repr-Digest header, or ``""``."""
    linked = response.head.get("X-Linked-ETag").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        return linked
    found = re.search(r"sha-256=:([^:]+):", response.head.get("Repr-Digest"))
    if not found:
        return ""
    try:
        raw = base64.b64decode(found.group(1), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == 32 else ""


def drain(response: Response, link: Link) -> None:
    """Read a short body, so that the connection can be reused; otherwise close it."""
    if response.length is not None and response.length <= _DRAIN:
        with contextlib.suppress(OSError, SourceFault):
            response.read(response.length, _DRAIN_SECONDS)
    if not response.reusable:
        link.close()
