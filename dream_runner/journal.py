"""The journal of a run: every event as one JSON line, on disk before it is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO

from .events import Event, PhaseFinished, PhaseStarted, Progress, RunFinished, to_message

#: What must survive a power loss; a task more or less does not matter.
_DURABLE = (PhaseStarted, PhaseFinished, RunFinished)


class Journal:
    """Appends events to ``events.jsonl`` in the folder of the run, mode 0600.

    A journal that cannot be written never stops an install: ``warning`` then
    says why, once, and the rest is dropped. Progress is left out; the bytes on
    disk tell it better.
    """

    def __init__(self, run_dir: Path) -> None:
        self.warning = ""
        self._stream: IO[str] | None = None
        path = run_dir / "events.jsonl"
        try:
            run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._stream = os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8")
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def take(self, event: Event) -> None:
        """Write one event; phase borders are synced to disk."""
        if self._stream is None or isinstance(event, Progress):
            return
        try:
            self._stream.write(json.dumps(to_message(event)) + "\n")
            self._stream.flush()
            if isinstance(event, _DURABLE):
                os.fsync(self._stream.fileno())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.warning = f"this run keeps no journal: {error}"
        self._stream = None
