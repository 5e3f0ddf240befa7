"""Read a text file that a person may have written, on any system and with any editor.

Type and size are checked first, so that a FIFO cannot block, a device is not read without end and a
huge sparse file does not fill the memory. Byte order marks and UTF-16 are supported; line ends are
kept. No message quotes the content of the file.
"""

from __future__ import annotations

import codecs
import os
import stat
from typing import Union

#: Far more than a person writes by hand.
LIMIT_BYTES = 1024 * 1024

_KINDS = (
    (stat.S_ISDIR, "it is a directory"),
    (stat.S_ISFIFO, "it is a pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
)
#: The longer mark first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Unreadable(Exception):
    """A file that cannot be read as text, with the reason and what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def read(
    path: Union[str, "os.PathLike[str]"], limit: int = LIMIT_BYTES, errors: str = "strict"
) -> str:
    """Read the text of a regular file. Raises Unreadable.

    ``errors`` is passed to ``bytes.decode``: "surrogateescape" keeps bytes that are not UTF-8.
    """
    return decode(read_bytes(path, limit), errors)


def read_bytes(path: Union[str, "os.PathLike[str]"], limit: int = LIMIT_BYTES) -> bytes:
    """Read a regular file of at most ``limit`` bytes. Raises Unreadable."""
    try:
        # Without O_NONBLOCK, opening a pipe would block.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be opened") from None
    except ValueError:
        raise Unreadable("its name is invalid") from None
    try:
        return _content(handle, limit)
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be read") from None
    finally:
        os.close(handle)


def require(path: Union[str, "os.PathLike[str]"], limit: int = LIMIT_BYTES) -> None:
    """Raise Unreadable unless this is a regular file of at most ``limit`` bytes; read nothing."""
    try:
        _require(os.stat(path), limit)
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be read") from None
    except ValueError:
        raise Unreadable("its name is invalid") from None


def _content(handle: int, limit: int) -> bytes:
    _require(os.fstat(handle), limit)
    content = b""
    # Files in /proc report no size, and any file may grow.
    while len(content) <= limit:
        block = os.read(handle, min(limit + 1 - len(content), 1024 * 1024))
        if not block:
            return content
        content += block
    raise _too_large(limit)


def _require(status: os.stat_result, limit: int) -> None:
    for is_kind, reason in _KINDS:
        if is_kind(status.st_mode):
            raise Unreadable(reason, "use the path of a regular file")
    if status.st_size > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Unreadable:
    megabytes = limit // (1024 * 1024)
    size = "%d MB" % megabytes if megabytes else "%d bytes" % limit
    return Unreadable("the file is larger than " + size)


def decode(content: bytes, errors: str = "strict") -> str:
    """Decode ``content`` from any Unicode encoding. Raises Unreadable."""
    mark = next((mark for mark, _ in _MARKS if content.startswith(mark)), b"")
    return plain(_decoded(content[len(mark) :], encoding_of(content), errors))


def encoding_of(content: bytes) -> str:
    """Return the encoding by the byte order mark or the zeros of UTF-16, else utf-8."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    return _without_mark(content)


def _decoded(content: bytes, encoding: str, errors: str) -> str:
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable("line %d is not valid UTF-8" % line, "save the file in UTF-8") from None


def _without_mark(content: bytes) -> str:
    """Detect UTF-16 without a mark by its zeros: every second byte of Latin text."""
    head = content[:512]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = head[first::2], head[1 - first :: 2]
        if len(head) >= 4 and zeros.count(0) > len(zeros) * 0.8 and not others.count(0):
            return encoding
    return "utf-8"


def plain(text: str) -> str:
    """Return ``text`` without a byte order mark."""
    return text.lstrip("\ufeff")
