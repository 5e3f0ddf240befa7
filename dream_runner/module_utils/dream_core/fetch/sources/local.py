"""Sources on this machine: files, file URLs and bundle directories."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat as stat_module
from typing import Any, List, Optional, Sequence
from urllib.parse import unquote_to_bytes, urlsplit

from ...errors import UsageError
from ...system.filesystems import parts_of
from ..faults import SourceFault

#: linux/fs.h: _IOW(0x94, 9, int); shares the blocks of a file if the filesystem supports it.
_FICLONE = 0x40049409


class LocalBody:
    """The bytes of a local file, or of one in parts, starting at ``position``."""

    def __init__(self, handles: Sequence[int], position: int) -> None:
        self._parts = [(handle, os.fstat(handle).st_size) for handle in handles]
        self.position = position
        self.total = sum(size for _, size in self._parts)
        self.end: Optional[int] = self.total

    def readinto(self, view: memoryview) -> int:
        """Read into ``view``; return 0 at the end. Raises SourceFault."""
        start = 0
        for handle, size in self._parts:
            if self.position < start + size:
                try:
                    count = os.preadv(handle, [view], self.position - start)
                except OSError as error:
                    raise SourceFault("SOURCE_BROKEN", error.strerror or str(error)) from error
                self.position += count
                return count
            start += size
        return 0

    def close(self) -> None:
        """Close the file."""
        for handle, _ in self._parts:
            os.close(handle)


class Joined(io.RawIOBase):
    """A file, or a file in parts, as one seekable file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._body = LocalBody([_open_file(part) for part in parts_of(path)], 0)

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer``; return 0 at the end."""
        return self._body.readinto(memoryview(buffer))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position; return it."""
        begins = (0, self._body.position, self._body.total)
        self._body.position = begins[whence] + offset
        return self._body.position

    def close(self) -> None:
        """Close all parts."""
        if not self.closed:
            self._body.close()
        super().close()


class LocalSource:
    """A file on this machine, read like any other source."""

    parallel = False
    is_spare = False

    def __init__(self, path: str) -> None:
        self.label = "file://" + path
        self.validator = ""
        self.identity = ""
        self.refuted = ""
        self.notes: List[str] = []
        self._path = path

    def open(self, link: Any, start: int, end: Optional[int], size: int) -> LocalBody:
        """Return the file's bytes from ``start``. Raises SourceFault."""
        handles = [_open_file(path) for path in parts_of(self._path)]
        body = LocalBody(handles, start)
        self.identity = " ".join(str(os.fstat(handle).st_mtime_ns) for handle in handles)
        if size and body.total != size:
            body.close()
            what = "the file has %d bytes instead of %d" % (body.total, size)
            raise SourceFault("SIZE_MISMATCH", what, stale=True)
        if self.refuted and self.identity == self.refuted:
            body.close()
            what = "its content was wrong before, and it has not changed"
            raise SourceFault("DIGEST_MISMATCH", what, stale=True)
        return body

    def clone_into(self, handle: int, size: int) -> bool:
        """Clone the file's blocks into an empty file; return whether that worked."""
        with contextlib.suppress(SourceFault, OSError):
            source = _open_file(self._path)
            try:
                if size and os.fstat(source).st_size != size:
                    return False
                fcntl.ioctl(handle, _FICLONE, source)
                return True
            finally:
                os.close(source)
        return False


def _open_file(path: str) -> int:
    try:
        # Non-blocking, because opening a pipe would wait.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat_module.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise SourceFault("SOURCE_BROKEN", "it is not a regular file", permanent=True)
        return handle
    except ValueError:
        raise SourceFault("SOURCE_MISSING", "the path is invalid", permanent=True) from None
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        code = "SOURCE_MISSING" if missing else "SOURCE_BROKEN"
        raise SourceFault(code, error.strerror or str(error), permanent=True) from error


def _path_of(url: str) -> bytes:
    try:
        return os.fsencode(urlsplit(url).path)
    except (ValueError, UnicodeError):
        raise UsageError("the file address is not a valid URL", code="BAD_URL") from None


def local_path(source: str, name: str, sha256: str) -> Optional[str]:
    """Return the local path of ``source``, or None for a URL.

    In a bundle directory the file is looked up by digest, then by ``name``.
    """
    if source.startswith("file:"):
        path = os.fsdecode(unquote_to_bytes(_path_of(source)))
    elif source.startswith("/"):
        path = source
    else:
        return None
    if not os.path.isdir(path):
        return path
    places = ("blobs/sha256/" + sha256, "sha256/" + sha256, sha256, "models/" + name, name)
    candidates = [os.path.join(path, place) for place in places]
    found = (place for place in candidates if os.path.isfile(parts_of(place)[0]))
    return next(found, candidates[0])
