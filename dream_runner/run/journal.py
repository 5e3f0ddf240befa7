"""The journal of a run: every event as one JSON line, on disk before it is shown."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO

from .events import Event, PhaseFinished, PhaseStarted, Progress, RunFinished, to_message

#: What must survive a power loss; a task more or less does not matter.
_DURABLE = (PhaseStarted, PhaseFinished, RunFinished)

#: Progress is kept this often at most, and less often the longer a step takes.
_PROGRESS_SECONDS = 0.5
_PROGRESS_SHARE = 1 / 50


class _Thinned:
    """Lets some progress pass: enough to draw its rate, a few hundred lines for a day of it."""

    def __init__(self) -> None:
        self._began: dict[tuple[str, str, str], float] = {}
        self._last: dict[tuple[str, str, str], Progress] = {}

    def passes(self, event: Progress) -> bool:
        """Tell whether this point is kept: the first, the last, and now and then one.

        None of a step that counts no bytes, or only reads again those that are there.
        """
        if not (event.done or event.total) or event.note.startswith("checking"):
            return False
        key = (event.host, event.phase, event.what)
        took = event.time - self._began.setdefault(key, event.time)
        last = self._last.get(key)
        if last is not None:
            is_end = 0 < event.total <= event.done != last.done
            pause = max(_PROGRESS_SECONDS, took * _PROGRESS_SHARE)
            if not is_end and event.time - last.time < pause:
                return False
        self._last[key] = event
        return True


class Journal:
    """Appends events to ``events.jsonl`` in the folder of the run, mode 0600.

    A journal that cannot be written never stops an install: ``warning`` then
    says why, once, and the rest is dropped. Of progress it keeps what a report
    draws; the bytes on disk are what a resume goes by.
    """

    def __init__(self, run_dir: Path) -> None:
        self.warning = ""
        self._stream: IO[str] | None = None
        self._thinned = _Thinned()
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
            try:
                self._stream.close()
            except OSError as error:
                self._give_up(error)

    def take(self, event: Event) -> None:
        """Write one event; phase borders are synced to disk."""
        if self._stream is None:
            return
        if isinstance(event, Progress):
            if not self._thinned.passes(event):
                return
            # A note may be a line of another program, with who knows what in it.
            event = replace(event, note="")
        try:
            self._stream.write(json.dumps(to_message(event)) + "\n")
            self._stream.flush()
            if isinstance(event, _DURABLE):
                os.fsync(self._stream.fileno())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.warning = f"this run keeps no journal: {error}"
        stream, self._stream = self._stream, None
        if stream is not None:
            # What it still holds cannot be written; closing tries that once more.
            with contextlib.suppress(OSError):
                stream.close()
