"""Common parts of the trial of a model, for every kind of engine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import Any, Iterator

from ..types.choice import Model

#: Seconds until an engine must be ready, in addition to the time for reading the model.
_READY_SECONDS = 300.0
#: The speed of a slow disk in bytes per second.
_SLOW_BYTES_PER_SECOND = 20_000_000
#: Seconds in which a model must answer one question.
ANSWER_SECONDS = 600.0
#: Context size of a trial in tokens.
CONTEXT_TOKENS = 512


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM into an exception in the block, so that a trial leaves nothing behind."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def ready_seconds(models_dir: str, model: Model) -> float:
    """Return how many seconds an engine may take to load a model from a slow disk."""
    size = sum(_size_of(os.path.join(models_dir, str(item["file"]))) for item in model["files"])
    return _READY_SECONDS + size / _SLOW_BYTES_PER_SECOND


def _size_of(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.path.getsize(path)
    return 0


def last_words(log: str) -> str:
    """Return the end of a log as one line, errors first; empty for an empty log."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    words = " | ".join((telling or lines)[-2:])[-300:]
    return " (%s)" % words if words else ""
