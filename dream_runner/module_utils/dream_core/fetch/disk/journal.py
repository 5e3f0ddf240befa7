"""The journal of a partial file: the confirmed bytes with their digests, one per line.

``<path>.part.json`` is in JSON Lines format. The first line binds the partial file to a digest and
a size; each later line is a fact that survives kill -9, because a line is appended as a whole:

    {"schema": 1, "sha256": "...", "size_bytes": n}
    ["p", end, digest]           bytes [0, end) have this digest
    ["s", start, end, crc]       bytes [start, end) have this CRC-32
    ["v", source, etag, id]      this source delivered bytes, with this strong validator
    ["n", size]                  the size, if it was unknown at first
    ["t", end]                   bytes [0, end) are present but unverified
    ["x", source, id, when]      this source was read twice: it has other content

Prefix digests (sha256) are copies of the running hash, so they cost nothing, and they locate the
first damaged piece on a re-read. Pieces that arrive ahead of the hash have their own checksum. It
only has to detect damage: the sha256 of the whole file decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat as stat_module
import threading
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ...system import atomic

SCHEMA = 1
#: Maximum size of the journal; 1 TB in 4 MiB steps stays below it.
_LIMIT = 64 * 1024 * 1024
#: Seconds for which a refuted version of a source is not fetched again.
_REFUTED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Mark:
    """Bytes ``[start, end)`` and their digest.

    The digest of a ``prefix`` mark is the sha256 of ``[0, end)``, of any other its own CRC-32.
    """

    start: int
    end: int
    digest: str
    prefix: bool


@dataclass(frozen=True)
class Binding:
    """The file to which a partial belongs; ``size_bytes`` 0 is unknown."""

    sha256: str
    size_bytes: int


class Journal:
    """An open journal. Appends are unbuffered; ``sync`` makes them durable."""

    def __init__(self, path: str, binding: Binding) -> None:
        self.path = path
        self.binding = binding
        #: By source: its strong ETag, and a value that identifies its version.
        self.validators: Dict[str, str] = {}
        self.identities: Dict[str, str] = {}
        self.trial = 0
        #: By source: the version that turned out to be another file.
        self.refuted: Dict[str, str] = {}
        self._refuted_at: Dict[str, int] = {}
        self._prefixes: List[Tuple[int, str]] = []
        self._segments: Dict[int, Tuple[int, str]] = {}
        self._handle = -1
        self._lock = threading.RLock()

    def open(self) -> None:
        """Write the compacted state and keep the file open for appending.

        Raises DiskError or PrivilegeError.
        """
        lines = [json.dumps(self._header()), json.dumps(["t", self.trial])]
        lines += [
            json.dumps(["v", name, etag, self.identities.get(name, "")])
            for name, etag in self.validators.items()
        ]
        lines += [json.dumps(["p", end, digest]) for end, digest in self._prefixes]
        lines += [
            json.dumps(["s", start, end, digest])
            for start, (end, digest) in sorted(self._segments.items())
        ]
        lines += [
            json.dumps(["x", name, version, self._refuted_at.get(name, 0)])
            for name, version in self.refuted.items()
        ]
        atomic.write_bytes(self.path, ("\n".join(lines) + "\n").encode(), 0o600)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._handle = os.open(self.path, flags)

    def prefix(self, end: int, digest: str) -> None:
        """Record that bytes ``[0, end)`` have ``digest``."""
        with self._lock:
            self._note_prefix(end, digest)
            self._append(["p", end, digest])

    def segment(self, start: int, end: int, digest: str) -> None:
        """Record that bytes ``[start, end)`` have ``digest``, a CRC-32 in hexadecimal."""
        with self._lock:
            if end > self.prefix_end:
                self._segments[start] = (end, digest)
                self._append(["s", start, end, digest])

    def forget(self, start: int, end: int) -> None:
        """Forget the digests of ``[start, end)``, which is damaged or doubtful.

        Every later prefix is kept: it is valid again as soon as the piece is.
        """
        with self._lock:
            for key, (stop, _) in list(self._segments.items()):
                if key < end and stop > start:
                    del self._segments[key]

    def put_on_trial(self, end: int) -> None:
        """Forget every digest; the bytes ``[0, end)`` stay, but are unverified.

        Raises DiskError or PrivilegeError.
        """
        with self._lock:
            self._prefixes, self._segments = [], {}
            self.trial = end
            self.close()
            self.open()

    def start_over(self) -> None:
        """Forget the size and every byte. Raises DiskError or PrivilegeError."""
        with self._lock:
            self.binding = Binding(self.binding.sha256, 0)
            self.put_on_trial(0)

    def validator(self, source: str, etag: str, identity: str) -> None:
        """Record the version that ``source`` delivers (empty: unknown)."""
        with self._lock:
            if (self.validators.get(source), self.identities.get(source)) != (etag, identity):
                self.validators[source], self.identities[source] = etag, identity
                self._append(["v", source, etag, identity])

    def learn_size(self, size: int) -> None:
        """Record a size that was unknown before."""
        with self._lock:
            self.binding = Binding(self.binding.sha256, size)
            self._append(["n", size])

    def refute(self, sources: Sequence[str], before: Sequence[Mark]) -> None:
        """Record that ``sources`` were read twice and have another digest.

        What they delivered is forgotten; only the earlier ``before`` is kept. Raises DiskError or
        PrivilegeError.
        """
        with self._lock:
            self._prefixes = [(mark.end, mark.digest) for mark in before if mark.prefix]
            self._segments = {
                mark.start: (mark.end, mark.digest) for mark in before if not mark.prefix
            }
            self.trial = 0
            self.refuted.update((name, self.identities.get(name, "")) for name in sources)
            self._refuted_at.update((name, int(time.time())) for name in sources)
            self.close()
            self.open()

    def sync(self) -> None:
        """Make every line so far durable."""
        if self._handle >= 0:
            os.fdatasync(self._handle)

    def close(self) -> None:
        """Close the journal and keep its file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Close and remove the journal; a failed removal is not an error."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    @property
    def prefix_end(self) -> int:
        """Return the end of the longest prefix with a known digest, in bytes."""
        return self._prefixes[-1][0] if self._prefixes else 0

    def marks(self) -> List[Mark]:
        """Return the marks, disjoint and ordered by position."""
        found: List[Mark] = []
        position = 0
        for end, digest in self._prefixes:
            found.append(Mark(position, end, digest, True))
            position = end
        for start, (end, digest) in sorted(self._segments.items()):
            if start >= position:
                found.append(Mark(start, end, digest, False))
                position = end
        return found

    def _header(self) -> Dict[str, Any]:
        return {
            "schema": SCHEMA,
            "sha256": self.binding.sha256,
            "size_bytes": self.binding.size_bytes,
        }

    def _note_prefix(self, end: int, digest: str) -> None:
        while self._prefixes and self._prefixes[-1][0] >= end:
            self._prefixes.pop()
        self._prefixes.append((end, digest))
        # The prefix now covers these, so memory stays small at any file size.
        for start in [key for key, value in self._segments.items() if value[0] <= end]:
            del self._segments[start]

    def _append(self, record: List[Any]) -> None:
        if self._handle < 0:
            return
        try:
            os.write(self._handle, (json.dumps(record) + "\n").encode())
        except OSError as error:
            raise atomic.translate(error, self.path) from error

    def _replay(self, record: Any) -> None:
        kind = record[0]
        if kind == "p" and _is_digest(record[2]) and int(record[1]) > 0:
            self._note_prefix(int(record[1]), record[2])
        elif kind == "s" and 0 <= int(record[1]) < int(record[2]):
            self._segments[int(record[1])] = (int(record[2]), str(record[3]))
        elif kind == "v":
            self.validators[str(record[1])] = str(record[2])
            self.identities[str(record[1])] = str(record[3])
        elif kind == "n":
            self.binding = Binding(self.binding.sha256, int(record[1]))
        elif kind == "t":
            self.trial = int(record[1])
        elif kind == "x" and 0 <= time.time() - int(record[3]) < _REFUTED_SECONDS:
            # Later the network may be repaired, or the file corrected under its old tag.
            self.refuted[str(record[1])] = str(record[2])
            self._refuted_at[str(record[1])] = int(record[3])


#: The exceptions for an invalid line, which is ignored.
_NOT_A_FACT = (ValueError, TypeError, LookupError, OverflowError, RecursionError)


def load(path: str) -> Tuple[Optional[Journal], Optional[str]]:
    """Return ``(journal, None)``, or ``(None, why)`` if there is no valid one.

    A missing journal gives ``(None, None)``. After kill -9 or a power loss the last line may be
    incomplete; the lines before it are valid.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, error.strerror or str(error)
    if not stat_module.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None, "it is not a regular file"
    with os.fdopen(handle, "rb") as stream:
        try:
            lines = stream.read(_LIMIT).decode("utf-8", "replace").split("\n")
        except OSError as error:
            return None, error.strerror or str(error)
    binding = _binding(lines[0])
    if binding is None:
        return None, "its first line is not a header of schema %d" % SCHEMA
    journal = Journal(path, binding)
    for line in lines[1:]:
        # Every fact is checked against the bytes on disk before its use, so an unreadable line only
        # means one fact less.
        with contextlib.suppress(*_NOT_A_FACT):
            journal._replay(json.loads(line))
    return journal, None


def _binding(line: str) -> Optional[Binding]:
    try:
        header = json.loads(line)
        if header["schema"] != SCHEMA or not _is_digest(header["sha256"]):
            return None
        return Binding(header["sha256"], int(header["size_bytes"]))
    except _NOT_A_FACT:
        return None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64
