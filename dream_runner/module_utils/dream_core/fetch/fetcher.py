"""Fetch a file by its digest: look, lock, resume, transfer, verify, put in place."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import replace
from typing import Any, Callable, List, Optional

from ..errors import DreamError, IntegrityError, NetworkError
from ..system import atomic
from .disk import journal as journals
from .disk import partial as partials
from .disk.journal import Binding, Mark
from .disk.names import PART, SIDECAR, WHEEL, stem
from .disk.partial import Partial
from .disk.stamp import is_present, remove_stamp, write_stamp
from .disk.target import give_access, require_usable
from .faults import verdict
from .gathering import Gathering
from .piece_repair import PieceRepair
from .repair import Repair
from .request import FetchRequest, FetchResult, Progress
from .source_ledger import Ledger
from .sources.local import LocalSource
from .sources.of_request import sources_of
from .sources.wheel_address import is_wheel
from .transfer import Transfer

OnProgress = Callable[[Progress], None]
_PROGRESS_SECONDS = 0.2
#: How often a partial file is read again after another program has written to it.
_FOREIGN_ROUNDS = 3


def fetch(request: FetchRequest, on_progress: Optional[OnProgress] = None) -> FetchResult:
    """Make ``request.path`` the file with ``request.sha256``; return the result.

    The final name only ever has verified bytes. After any interruption, a later call continues from
    the bytes on disk. ``on_progress`` is called at most five times a second.

    Raises UsageError, NetworkError (sources), IntegrityError (digest, size, stale
    catalogue), DiskError, PrivilegeError.
    """
    return _Fetch(request, on_progress or _silent).run()


def remove(path: str, stamps_dir: str = "", dry_run: bool = False) -> List[str]:
    """Remove a fetched file, its stamp and its partial file; return the removed paths.

    Raises DiskError or PrivilegeError.
    """
    names = (path, stem(path) + PART, stem(path) + SIDECAR)
    found = [name for name in names if os.path.lexists(name)]
    found += partials.wheel_leftovers(path)
    if not dry_run:
        for name in found:
            try:
                os.unlink(name)
            except OSError as error:
                raise atomic.translate(error, name) from error
        remove_stamp(path, stamps_dir)
        remove_stamp(stem(path) + WHEEL, stamps_dir)
    return found


def _silent(_: Progress) -> None:
    pass


class _Fetch:
    """The steps of one fetch, and their shared state."""

    def __init__(self, request: FetchRequest, on_progress: OnProgress) -> None:
        self._request = request
        self._access = (request.uid, request.gid, request.mode)
        self._on_progress = on_progress
        self._notes: List[str] = []
        self._started = time.monotonic()
        self._spoke = 0.0

    def run(self) -> FetchResult:
        request = self._request
        present = self._look(request.verify)
        if present:
            self._drop_wheel()
            return present
        sources = sources_of(request, fetch)
        require_usable(request.path)
        self._prepare_directory()
        partials.take_back(request.path, request.sha256)
        while True:
            partial = partials.lock(request.path, self._is_done, self._say_waiting)
            if partial is None:
                return self._look(False) or self.run()
            try:
                if self._bind(partial):
                    return self._fill(partial, sources)
            finally:
                partial.close()

    def _look(self, verify: bool) -> Optional[FetchResult]:
        """Return the result if the right file already exists, after correcting mode and owner."""
        request = self._request
        found = is_present(
            request.path,
            request.sha256,
            request.size_bytes,
            request.stamps_dir,
            verify,
            on_bytes=self._say_hashing,
        )
        if not found.present:
            return None
        return self._result(
            changed=self._fix_access(),
            size=found.size_bytes or 0,
            reused=found.size_bytes or 0,
            verified_by=found.verified_by,
        )

    def _fix_access(self) -> bool:
        path = self._request.path
        try:
            return give_access(path, os.stat(path), *self._access)
        except OSError as error:
            raise atomic.translate(error, path) from error

    def _prepare_directory(self) -> None:
        directory = os.path.dirname(self._request.path)
        try:
            os.makedirs(directory, exist_ok=True)
        except FileExistsError as error:
            # In the directories of the path, only a file can cause this.
            gone = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            raise atomic.translate(gone, directory) from error
        except OSError as error:
            raise atomic.translate(error, directory) from error

    def _bind(self, partial: Partial) -> bool:
        """Open the journal of the partial file; return False after setting aside another file's."""
        request = self._request
        if partial.was_linked:
            self._notes.append("%s had a second hard link: starting over" % partial.path)
        found, why = journals.load(partial.journal.path)
        if found is not None and found.binding.sha256 == request.sha256:
            partial.journal = found
            if request.size_bytes:
                found.binding = Binding(request.sha256, request.size_bytes)
            return True
        length = os.fstat(partial.handle).st_size
        if found is None and self._adoptable(partial, length):
            partial.journal.binding = Binding(request.sha256, request.size_bytes)
            partial.journal.trial = length
            if length:
                reason = why or "its journal is missing"
                self._notes.append("%s: keeping unverified bytes (%s)" % (partial.path, reason))
            return True
        moved = partials.set_aside(request.path, found.binding.sha256 if found else "")
        self._notes.append("the partial file of another download was moved to %s" % moved)
        return False

    def _adoptable(self, partial: Partial, length: int) -> bool:
        """Return whether bytes without a journal can be the beginning of the file."""
        limit = self._request.size_bytes or length
        return length <= limit and partial.used_bytes() >= length

    def _fill(self, partial: Partial, sources: List[Any]) -> FetchResult:
        """Complete the partial file, repair it if needed, and rename it."""
        try:
            result = self._complete_from_each_size(partial, sources)
        except DreamError as error:
            if error.code == "DISK_FULL" and not partial.journal.binding.size_bytes:
                # The file may never end and would fill the disk.
                partial.start_over()
            has_wheel = bool(partials.wheel_leftovers(self._request.path))
            if not partial.journal.marks() and not partial.journal.trial and not has_wheel:
                partial.empty()
            raise
        finally:
            for source in sources:
                self._notes += source.notes
        return replace(result, notes=tuple(self._notes))

    def _complete_from_each_size(self, partial: Partial, sources: List[Any]) -> FetchResult:
        """Complete the partial file; the size that one source states does not bind the others.

        If the size was unknown and no bytes were present, sources that state another size than a
        failed source are tried again.
        """
        is_fresh = not partial.journal.binding.size_bytes and not partial.used_bytes()
        while True:
            ledger = Ledger(sources, self._request.patience)
            try:
                return self._complete(partial, sources, ledger)
            except (IntegrityError, NetworkError):
                others = ledger.of_another_size(sources)
                if not is_fresh or not 0 < len(others) < len(sources):
                    raise
                partial.start_over()
                sources = others

    def _complete(self, partial: Partial, sources: List[Any], ledger: Ledger) -> FetchResult:
        request, journal = self._request, partial.journal
        marks, here = partial.known()
        if journal.binding.size_bytes:
            self._reserve(partial, journal.binding.size_bytes)
        journal.open()
        for source in sources:
            source.validator = journal.validators.get(source.label, "")
            source.refuted = journal.refuted.get(source.label, "")
        here = here or self._clone(partial, sources)
        gathered = Gathering(request, partial, ledger, self._transfer, self._on_progress)
        digest = gathered.run(sources, marks, here)
        reused = here + sum(mark.end - mark.start for mark in marks)
        reused -= sum(end - start for start, end in gathered.rotten)
        fetched = gathered.received
        if digest not in (None, request.sha256):
            fetched += self._repair(partial, ledger, sources, marks)
        elif digest is None:
            raise verdict(request.path, ledger.faults)
        fetched += self._put_in_place(partial, ledger)
        size = journal.binding.size_bytes
        # The last progress report may be one block short of the end.
        self._on_progress(Progress(size, size, 0.0))
        return self._result(
            changed=True,
            size=size,
            reused=max(0, reused),
            fetched=fetched,
            source=ledger.delivered[-1] if ledger.delivered else "",
            connections=gathered.connections,
        )

    def _transfer(
        self, partial: Partial, ledger: Ledger, on_progress: Optional[OnProgress] = None
    ) -> Transfer:
        def on_size(size: int) -> None:
            self._reserve(partial, size)

        return Transfer(self._request, partial, ledger, on_size, on_progress or self._on_progress)

    def _repair(
        self, partial: Partial, ledger: Ledger, sources: List[Any], before: List[Mark]
    ) -> int:
        """Repair a complete partial file with a wrong digest; return the number of fetched bytes.

        Raises IntegrityError or NetworkError, with every source and its fault.
        """
        request, journal = self._request, partial.journal
        # First the disk: read everything again and compare it with the journal.
        again = self._transfer(partial, ledger)
        digest = again.run(partial.known()[0], journal.binding.size_bytes)
        if digest == request.sha256:
            self._notes.append("%d pieces were damaged on disk" % len(again.rotten))
            return again.received
        pieces = PieceRepair(request, partial, ledger, self._say_repairing)
        right = pieces.run(sources)
        if right:
            self._notes.append("some bytes were wrong; corrected from %s" % right)
            return again.received + pieces.received
        repair = Repair(request, partial, ledger, before, self._on_progress)
        right = repair.run(sources)
        if not right:
            if repair.consistent:
                journal.refute(repair.refuted, before)
            raise verdict(request.path, ledger.faults)
        self._notes.append("the content was wrong; corrected from %s" % right)
        return again.received + pieces.received + repair.received

    def _clone(self, partial: Partial, sources: List[Any]) -> int:
        """Clone the blocks of a local first source; return the number of bytes."""
        first, size = sources[0], partial.journal.binding.size_bytes
        if not isinstance(first, LocalSource) or partial.used_bytes():
            return 0
        with partial.watch.writing():
            is_cloned = first.clone_into(partial.handle, size)
        if not is_cloned:
            return 0
        return os.fstat(partial.handle).st_size

    def _reserve(self, partial: Partial, size: int) -> None:
        """Check the space for ``size`` bytes and set the length of the partial file, sparse."""
        directory = os.path.dirname(partial.path)
        partials.require_space(directory, size - partial.used_bytes(), self._request.reserve_bytes)
        try:
            partial.resize(size)
        except OSError as error:
            raise atomic.translate(error, partial.path) from error

    def _put_in_place(self, partial: Partial, ledger: Ledger) -> int:
        """Rename the verified file durably, and remove the other files.

        Return the number of bytes fetched again after writes by other programs.
        """
        path, fetched, rounds = self._request.path, 0, 0
        try:
            while rounds == 0 or partial.watch.is_foreign():
                if rounds > _FOREIGN_ROUNDS:
                    raise partials.changed(partial.path)
                fetched += self._hash_again(partial, ledger) if rounds else 0
                rounds += 1
                with partial.watch.writing():
                    give_access(partial.handle, os.fstat(partial.handle), *self._access)
                os.fsync(partial.handle)
            status = os.fstat(partial.handle)
            partial.give_name(path)
            atomic.fsync_dir(os.path.dirname(path))
        except OSError as error:
            raise atomic.translate(error, path) from error
        partial.journal.discard()
        write_stamp(path, self._request.sha256, self._request.stamps_dir, status)
        self._drop_wheel()
        return fetched

    def _hash_again(self, partial: Partial, ledger: Ledger) -> int:
        """Read the file after a write by another program, and fetch wrong pieces again.

        Returns the number of fetched bytes. Raises DiskError if it cannot be repaired.
        """
        size = partial.journal.binding.size_bytes
        partial.watch.forget()
        if os.fstat(partial.handle).st_size != size:
            partial.resize(size)
        again = self._transfer(partial, ledger)
        if again.run(partial.known()[0], size) != self._request.sha256:
            raise partials.changed(partial.path)
        self._notes.append("another program wrote to %s; it was read again" % partial.path)
        return again.received

    def _drop_wheel(self) -> None:
        """Remove the wheel of the file, which a killed run may have left."""
        path = self._request.path
        if any(is_wheel(text) for text in self._request.sources):
            for name in partials.wheel_leftovers(path):
                with contextlib.suppress(OSError):
                    os.unlink(name)
            remove_stamp(stem(path) + WHEEL, self._request.stamps_dir)

    def _is_done(self) -> bool:
        request = self._request
        return is_present(
            request.path, request.sha256, request.size_bytes, request.stamps_dir
        ).present

    def _result(
        self,
        *,
        changed: bool,
        size: int,
        reused: int,
        fetched: int = 0,
        source: str = "",
        verified_by: str = "hash",
        connections: int = 0,
    ) -> FetchResult:
        seconds = time.monotonic() - self._started
        return FetchResult(
            path=self._request.path,
            sha256=self._request.sha256,
            size_bytes=size,
            changed=changed,
            bytes_fetched=fetched,
            bytes_reused=reused,
            source=source,
            seconds=round(seconds, 3),
            rate=round(fetched / seconds, 1) if seconds > 0 else 0.0,
            verified_by=verified_by,
            connections=connections,
            notes=tuple(self._notes),
        )

    def _say_hashing(self, done: int) -> None:
        self._say_at_times(done, "checking the existing file")

    def _say_repairing(self, done: int, label: str) -> None:
        self._say_at_times(done, "wrong digest; repairing from %s" % label)

    def _say_at_times(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self._spoke >= _PROGRESS_SECONDS:
            self._spoke = now
            self._on_progress(Progress(done, self._request.size_bytes, 0.0, note))

    def _say_waiting(self) -> None:
        note = "waiting for another fetch of this file"
        self._on_progress(Progress(0, self._request.size_bytes, 0.0, note))
