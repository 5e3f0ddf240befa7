"""Split files for FAT filesystems, which cannot store 4 GiB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

#: The maximum file size of FAT is one byte less than 4 GiB.
PART_BYTES = 4 * 1024**3 - 1024**2
_BLOCK = 1024 * 1024


def split(path: Path, part_bytes: int) -> None:
    """Split a file that is larger than a part, then delete it; a kill loses no data.

    Parts beside a whole file are left over from a killed split and are written again.
    """
    size = path.stat().st_size
    if size <= part_bytes:
        return
    with path.open("rb") as source:
        for number in range(-(-size // part_bytes)):
            with path.with_name(f"{path.name}.{number:03d}").open("wb") as target:
                _copy(source, target, part_bytes)
                os.fsync(target.fileno())
    path.unlink()


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count and (block := source.read(min(_BLOCK, count))):
        target.write(block)
        count -= len(block)
    target.flush()
