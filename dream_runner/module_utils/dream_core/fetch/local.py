"""Sources on this machine: files, file URLs and bundle directories."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import Any, List, Optional
from urllib.parse import unquote, urlsplit

from .faults import SourceFault

#: linux/fs.h: _IOW(0x94, 9, int); shares the blocks of a file where the filesystem can.
_FICLONE = 0x40049409


class LocalBody:
    """The bytes of a local file from ``position`` onwards."""

    def __init__(self, handle: int, position: int, end: int) -> None:
        self._handle = handle
        self.position = position
        self.end: Optional[int] = end
        self.total = end

    def readinto(self, view: memoryview) -> int:
        """Read into ``view``; 0 at the end. Raises SourceFault."""
        try:
            count = os.preadv(self._handle, [view], self.position)
        except OSError as error:
            raise SourceFault("SOURCE_BROKEN", error.strerror or str(error)) from error
        self.position += count
        return count

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


class LocalSource:
    """A file on this machine, read like any other source."""

    parallel = False

    def __init__(self, path: str) -> None:
        self.label = "file://" + path
        self.validator = ""
        self.identity = ""
        self.refuted = ""
        self.notes: List[str] = []
        self._path = path

    def open(self, link: Any, start: int, end: Optional[int], size: int) -> LocalBody:
        """Return the file's bytes from ``start``. Raises SourceFault."""
        handle = self._open_file()
        status = os.fstat(handle)
        found, self.identity = status.st_size, str(status.st_mtime_ns)
        if size and found != size:
            os.close(handle)
            what = "the file has %d bytes instead of %d" % (found, size)
            raise SourceFault("SIZE_MISMATCH", what, stale=True)
        if self.refuted and self.identity == self.refuted:
            os.close(handle)
            what = "it is still the file that was refuted before"
            raise SourceFault("DIGEST_MISMATCH", what, stale=True)
        return LocalBody(handle, start, found)

    def clone_into(self, handle: int, size: int) -> bool:
        """Share the file's blocks with an empty file; return whether that worked."""
        with contextlib.suppress(SourceFault, OSError):
            source = self._open_file()
            try:
                if size and os.fstat(source).st_size != size:
                    return False
                fcntl.ioctl(handle, _FICLONE, source)
                return True
            finally:
                os.close(source)
        return False

    def _open_file(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            code = "SOURCE_MISSING" if missing else "SOURCE_BROKEN"
            raise SourceFault(code, error.strerror or str(error), permanent=True) from error


def local_path(source: str, name: str, sha256: str) -> Optional[str]:
    """Return the path that ``source`` names on this machine, or None for a URL.

    In a bundle directory the file is looked for by digest, then by ``name``.
    """
    if source.startswith("file:"):
        path = unquote(urlsplit(source).path)
    elif source.startswith("/"):
        path = source
    else:
        return None
    if not os.path.isdir(path):
        return path
    places = ("blobs/sha256/" + sha256, "sha256/" + sha256, sha256, "models/" + name, name)
    candidates = [os.path.join(path, place) for place in places]
    return next((place for place in candidates if os.path.isfile(place)), candidates[-1])
