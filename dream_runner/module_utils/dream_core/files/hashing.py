"""Compute the sha256 of files."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Callable, Iterable, Optional, Union

_CHUNK = 1024 * 1024


def hash_file(file: Union[str, int], on_bytes: Optional[Callable[[int], None]] = None) -> str:
    """Return the sha256 of a path or an open file. Raises OSError."""
    if isinstance(file, str):
        with open(file, "rb", buffering=0) as stream:
            return hash_file(stream.fileno(), on_bytes)
    digest = hashlib.sha256()
    _add(digest, file, on_bytes)
    return digest.hexdigest()


def hash_files(paths: Iterable[str]) -> str:
    """Return the sha256 of several files as if they were one, for a file in parts."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb", buffering=0) as stream:
            _add(digest, stream.fileno())
    return digest.hexdigest()


def _add(digest: Any, file: int, on_bytes: Optional[Callable[[int], None]] = None) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    done, size = 0, os.fstat(file).st_size
    # Stop at the size at the start: a file could grow faster than it is read.
    while done <= size:
        count = os.preadv(file, [buffer], done)
        if not count:
            break
        digest.update(buffer[:count])
        done += count
        if on_bytes:
            on_bytes(done)
