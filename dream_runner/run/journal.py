"""The journal of a run: each event as one JSON line, written before it is shown."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO

from .events import Event, PhaseFinished, PhaseStarted, Progress, RunFinished, to_message

#: Events that must survive a power loss; single tasks may be lost.
_DURABLE = (PhaseStarted, PhaseFinished, RunFinished)

#: Minimum interval of progress in the journal; it grows with the duration of a step.
_PROGRESS_SECONDS = 0.5
_PROGRESS_SHARE = 1 / 50


class _Thinned:
    """Select some progress events: enough to draw the rate, a few hundred lines per day."""

    def __init__(self) -> None:
        self._began: dict[tuple[str, str, str], float] = {}
        self._last: dict[tuple[str, str, str], Progress] = {}

    def passes(self, event: Progress) -> bool:
        """Tell whether this event is kept: the first, the last, and some in between.

        Events without bytes, or of verifying existing files, are not kept.
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
    """Append events to ``events.jsonl`` in the folder of the run, mode 0600.

    A write error never stops an install: ``warning`` then has the reason, and further events are
    dropped. Progress is kept only for the report; a resume relies on the bytes on disk.
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
        """Write one event. The start and end of phases are synced to disk."""
        if self._stream is None:
            return
        if isinstance(event, Progress):
            if not self._thinned.passes(event):
                return
            # A note may be a line of another program and contain secrets.
            event = replace(event, note="")
        try:
            self._stream.write(json.dumps(to_message(event)) + "\n")
            self._stream.flush()
            if isinstance(event, _DURABLE):
                os.fsync(self._stream.fileno())
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.warning = f"the journal of this run could not be written: {error}"
        stream, self._stream = self._stream, None
        if stream is not None:
            # Closing tries to write the buffered rest again, which fails too.
            with contextlib.suppress(OSError):
                stream.close()
