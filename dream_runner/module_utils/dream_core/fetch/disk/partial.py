"""The partial file beside its target: its names, its lock and its content."""

from __future__ import annotations

import contextlib
import os
import stat as stat_module
import time
from dataclasses import dataclass
from typing import Callable, List, Optional, Tuple

from ...errors import DiskError
from ...system import atomic, file_lock
from . import journal as journals
from .journal import Binding, Journal, Mark
from .names import PART, SIDECAR, WHEEL, stem
from .ranges import RangeSet
from .watch import Watch, state_of

_POLL_SECONDS = 0.2
#: The size of one write: eight pages, the largest block that Linux has in its own free lists
#: (mmzone.h, PAGE_ALLOC_COSTLY_ORDER). Larger blocks come from free memory, which the host of a
#: virtual machine may have reclaimed and would have to return page by page.
_WRITE = 32 * 1024


@dataclass(frozen=True)
class PartialInfo:
    """A partial file for display: its target and its progress.

    ``sha256`` is empty if there is no journal.
    """

    path: str
    sha256: str
    done_bytes: int
    total_bytes: int
    used_bytes: int
    modified_at: float


class Partial:
    """An open, locked partial file and its journal."""

    def __init__(self, target: str, handle: int) -> None:
        self.path = stem(target) + PART
        self.handle = handle
        self.journal = Journal(stem(target) + SIDECAR, Binding("0" * 64, 0))
        #: Whether an earlier partial file here had a second hard link.
        self.was_linked = False
        self.watch = Watch(handle)

    def close(self) -> None:
        """Close both and release the lock; keep the files."""
        self.journal.close()
        os.close(self.handle)

    def empty(self) -> None:
        """Free the space, because none of the bytes is known to be right.

        The record of refuted sources is kept, so that the same bytes are not fetched from them
        again.
        """
        if self.journal.refuted:
            self.resize(0)
            return
        self.journal.discard()
        # Report the failure of the fetch, not this one.
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def known(self) -> Tuple[List[Mark], int]:
        """Return the marks of the journal, and the number of unverified bytes."""
        length = os.fstat(self.handle).st_size
        limit = min(length, self.journal.binding.size_bytes or length)
        marks = [mark for mark in self.journal.marks() if mark.end <= limit]
        return marks, min(self.journal.trial, limit)

    def start_over(self) -> None:
        """Forget every byte and the size; keep the record of the sources."""
        self.resize(0)
        self.journal.start_over()

    def resize(self, size: int) -> None:
        """Set the length of the file, sparse if it grows. Raises OSError."""
        with self.watch.writing():
            os.ftruncate(self.handle, size)

    def write(self, view: memoryview, position: int) -> None:
        """Write all of ``view`` at ``position``. Raises OSError."""
        with self.watch.writing():
            write_at(self.handle, view, position)

    def give_name(self, target: str) -> None:
        """Rename the file, and check that it is the hashed one. Raises OSError, DiskError."""
        before = state_of(os.fstat(self.handle))[:2]
        if not _still_there(self.handle, self.path):
            raise changed(self.path)
        os.replace(self.path, target)
        after = state_of(os.fstat(self.handle))[:2]
        if after != before or not _is_named(self.handle, target):
            # Another program has replaced the file, so its content was not hashed.
            with contextlib.suppress(OSError):
                os.replace(target, self.path)
            raise changed(self.path)

    def used_bytes(self) -> int:
        """Return the disk usage of the partial file in bytes."""
        return os.fstat(self.handle).st_blocks * 512


def lock(
    target: str, finished: Callable[[], bool], waiting: Callable[[], None]
) -> Optional[Partial]:
    """Lock the partial file of ``target`` and return it, or None as soon as ``finished`` is true.

    While another process holds it, ``waiting`` is called a few times a second.
    Raises DiskError or PrivilegeError.
    """
    path, was_linked = stem(target) + PART, False
    while True:
        handle = _open(path)
        try:
            while not _try_lock(handle):
                waiting()
                time.sleep(_POLL_SECONDS)
            if not _still_there(handle, path):
                # The previous holder renamed or removed it; try again.
                os.close(handle)
                if finished():
                    return None
                continue
            if os.fstat(handle).st_nlink > 1:
                # Another hard link shares its bytes, so start a new file and leave them alone.
                os.unlink(path)
                os.close(handle)
                was_linked = True
                continue
            if os.fstat(handle).st_size == 0 and finished():
                os.unlink(path)
                os.close(handle)
                return None
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
        partial = Partial(target, handle)
        partial.was_linked = was_linked
        return partial


def changed(path: str) -> DiskError:
    """Return the error for a partial file that another program writes to."""
    return DiskError(
        "%s was changed by another program" % path,
        code="PARTIAL_CHANGED",
        where=path,
        hint="stop the program that writes to it, then run again",
    )


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise atomic.translate(error, path) from error
    if not stat_module.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DiskError(
            "%s is not a regular file" % path,
            code="NOT_A_FILE",
            where=path,
            hint="move it away, then run again",
        )
    return handle


def _try_lock(handle: int) -> bool:
    # The filesystem has no locks: fetching without a lock is better than not fetching.
    return file_lock.attempt(handle) is not file_lock.Lock.HELD


def _still_there(handle: int, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        mine, named = os.fstat(handle), os.stat(path, follow_symlinks=False)
        return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino)
    return False


def _is_named(handle: int, path: str) -> bool:
    """Return whether a just renamed file has the name ``path``.

    Some FUSE filesystems derive a file's inode from its path; the kernel knows its name.
    """
    if _still_there(handle, path):
        return True
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/fd/%d" % handle) == os.path.realpath(path)
    return False


def write_at(handle: int, view: memoryview, position: int) -> None:
    """Write all of ``view`` at ``position``, through the page cache. Raises OSError."""
    while len(view):
        count = os.pwrite(handle, view[:_WRITE], position)
        view, position = view[count:], position + count


def set_aside(target: str, sha256: str) -> str:
    """Rename a partial file that belongs to ``sha256`` and return its new name.

    Nothing is deleted: a later fetch of that digest uses it again.
    """
    name = aside(target, sha256)
    for suffix in (PART, SIDECAR):
        with contextlib.suppress(FileNotFoundError):
            os.replace(stem(target) + suffix, name + suffix)
    return name + PART


def take_back(target: str, sha256: str) -> None:
    """Restore a partial file of ``sha256`` that was set aside, unless one exists."""
    name = aside(target, sha256)
    if os.path.exists(name + PART) and not os.path.exists(stem(target) + PART):
        for suffix in (SIDECAR, PART):
            with contextlib.suppress(FileNotFoundError):
                os.replace(name + suffix, stem(target) + suffix)


def aside(target: str, sha256: str) -> str:
    """Return the name, without suffix, for another file's partial that is set aside."""
    return "%s.%s" % (stem(target), sha256[:12] or "unknown")


def partial_progress(path: str) -> Optional[Tuple[int, int]]:
    """Return ``(done, total)`` in bytes of the partial file of ``path``, or None.

    It reads only the journal, which is fast; the bytes themselves are checked when the fetch
    continues. A total of 0 is unknown. The bytes of a wheel count in proportion.
    """
    base = stem(path)
    if not os.path.exists(base + PART):
        return None
    journal, _ = journals.load(base + SIDECAR)
    if journal is None:
        return None
    done, total = _known(journal), journal.binding.size_bytes
    return max(done, _of_wheel(base + WHEEL, total)), total


def _of_wheel(wheel: str, total: int) -> int:
    """Return the progress of a wheel, in bytes of its member."""
    if os.path.isfile(wheel):
        return total
    journal, _ = journals.load(wheel + SIDECAR)
    if journal is None or not journal.binding.size_bytes:
        return 0
    return total * _known(journal) // journal.binding.size_bytes


def wheel_leftovers(target: str) -> List[str]:
    """Return the files that a fetch of ``target`` from a wheel has left beside it."""
    directory, name = os.path.split(stem(target) + WHEEL)
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = [one for one in names if one == name or one.startswith(name + ".")]
    return sorted(os.path.join(directory, one) for one in found)


def find_partials(directory: str) -> List[PartialInfo]:
    """Return every partial file directly in ``directory``; none if it cannot be read.

    The wheel of a member is not listed: its bytes count for the member.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found = []
    for name in names:
        path = os.path.join(directory, name)
        if WHEEL + "." in name:
            continue  # It counts for the file that it is needed for.
        if name.endswith(PART) and os.path.isfile(path) and not os.path.islink(path):
            with contextlib.suppress(OSError):
                found.append(_describe(path))
    return found


def _describe(path: str) -> PartialInfo:
    status = os.stat(path)
    journal, _ = journals.load(path[: -len(PART)] + SIDECAR)
    return PartialInfo(
        path=path,
        sha256=journal.binding.sha256 if journal else "",
        done_bytes=(partial_progress(path[: -len(PART)]) or (0, 0))[0],
        total_bytes=journal.binding.size_bytes if journal else 0,
        used_bytes=status.st_blocks * 512,
        modified_at=status.st_mtime,
    )


def _known(journal: Journal) -> int:
    known = RangeSet()
    for mark in journal.marks():
        known.add(mark.start, mark.end)
    known.add(0, journal.trial)
    return known.total()


def require_space(directory: str, needed: int, reserve: int) -> None:
    """Raise DiskError unless ``needed`` more bytes fit, with ``reserve`` left over."""
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if needed > 0 and needed + reserve > free:
        raise DiskError(
            "%s has %d bytes free; %d more are needed, and %d must stay free"
            % (directory, free, needed, reserve),
            code="DISK_FULL",
            where=directory,
            hint="free %d bytes, or choose another directory; the downloaded part is kept"
            % (needed + reserve - free),
        )
