"""The log of a run, without control characters and secrets."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ...module_utils.dream_core import redact
from ...module_utils.dream_core.printable import printable
from .. import scratch

#: Seconds to wait for the end of the log after the run.
WAIT_SECONDS = 5.0
#: Length at which lines are split.
_LINE_BYTES = 64 * 1024


@contextlib.contextmanager
def opened(path: Path, wait_seconds: float = WAIT_SECONDS) -> Iterator[IO[bytes]]:
    """Yield the stream into which a run's processes print; what they print goes to ``path``.

    Nothing is kept where there is no room for it. At the end, wait at most ``wait_seconds`` for
    processes that still print.
    """
    try:
        # Ansible would fail at its end if it could not write its log.
        scratch.require_room(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError:
        handle = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(handle, "wb", buffering=0) as log, _filtered_into(log, wait_seconds) as stream:
        yield stream


@contextlib.contextmanager
def _filtered_into(log: IO[bytes], wait_seconds: float) -> Iterator[IO[bytes]]:
    """Yield the writing end of a pipe to the log; control characters and secrets are removed."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=_copy_lines, args=(reader, log), daemon=True)
    thread.start()
    with os.fdopen(writer, "wb") as stream:
        yield stream
    # A process that outlives Ansible may keep the pipe open.
    thread.join(timeout=wait_seconds)


def _copy_lines(reader: int, log: IO[bytes]) -> None:
    with os.fdopen(reader, "rb") as lines, contextlib.suppress(OSError, ValueError):
        while line := lines.readline(_LINE_BYTES):
            text = printable(redact.clean(line.decode("utf-8", "replace")))
            log.write(text.encode("utf-8", "replace"))
