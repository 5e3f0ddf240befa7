"""Show a fleet run: as a live table, as lines, or as JSON lines."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .. import wording
from ..run.events import Event, Notice, PhaseFinished, PhaseStarted, Progress, TaskStarted
from ..run.results import HostResult
from ..ui import resolve
from ..ui.console import for_stderr
from ..ui.lines import JsonListener
from ..ui.plain import place, title

#: Minimum seconds between two progress lines of a host.
_PROGRESS_SECONDS = 15.0
#: Maximum number of table rows, to fit on a small terminal.
_MOST_ROWS = 24


class View(Protocol):
    """Show events. Methods are called from several threads."""

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the run."""

    def take(self, event: Event) -> None:
        """Show an event of a host."""

    def begin(self, name: str) -> None:
        """Show that a host has started."""

    def end(self, result: HostResult) -> None:
        """Show how a host ended."""

    def close(self) -> None:
        """Restore the terminal."""


class Plain:
    """One line when a host starts and ends, and lines for warnings and progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._spoke: dict[str, float] = {}

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the run."""
        self._line(text if level == "info" else f"{level}: {text}")

    def take(self, event: Event) -> None:
        """Show an event of a host."""
        if isinstance(event, Notice):
            self.note(f"{event.host}: {event.text}", event.level)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, PhaseFinished) and event.state in ("changed", "failed"):
            took = wording.duration(event.seconds)
            self._line(f"{event.host}: {place(event.phase)}: {event.state} ({took})")

    def begin(self, name: str) -> None:
        """Show that a host has started."""
        self._line(f"{name}: started")

    def end(self, result: HostResult) -> None:
        """Show how a host ended."""
        self._line(ended(result))

    def close(self) -> None:
        """Do nothing: every line is already written."""

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        if now - self._spoke.get(event.host, 0.0) < _PROGRESS_SECONDS:
            return
        self._spoke[event.host] = now
        words = wording.progress(event.done, event.total, event.rate)
        self._line(f"{event.host}: {event.what}: {words}")

    def _line(self, line: str) -> None:
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class Quiet(Plain):
    """Warnings and failed hosts only."""

    def note(self, text: str, level: str = "info") -> None:
        """Show a message if it is a warning or an error."""
        if level != "info":
            super().note(text, level)

    def take(self, event: Event) -> None:
        """Show warnings."""
        if isinstance(event, Notice):
            self.note(f"{event.host}: {event.text}", event.level)

    def begin(self, name: str) -> None:
        """Show nothing."""

    def end(self, result: HostResult) -> None:
        """Show a host that failed."""
        if result.state == "failed":
            super().end(result)


class Json:
    """Each event as one JSON object per line, for programs."""

    def __init__(self, stream: TextIO) -> None:
        self._lines = JsonListener(stream)
        self._stream = stream
        self._lock = threading.Lock()

    def note(self, text: str, level: str = "info") -> None:
        """Write a message of the run as a notice."""
        with self._lock:
            self._lines.note(text, level)

    def take(self, event: Event) -> None:
        """Write an event of a host."""
        with self._lock:
            self._lines.take(event)

    def begin(self, name: str) -> None:
        """Write nothing: the host's first event follows."""

    def end(self, result: HostResult) -> None:
        """Write how a host ended."""
        with self._lock:
            line = {"type": "host_finished", "time": time.time(), **result.to_dict()}
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Do nothing: every line is already written."""


@dataclass
class _Row:
    """The current activity of a host."""

    phase: str = ""
    task: str = ""
    began: float = field(default_factory=time.monotonic)
    progress: Progress | None = None


class Rich:
    """A table of running hosts and counts; finished hosts scroll up above it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or for_stderr()
        self._lock = threading.RLock()
        self._rows: dict[str, _Row] = {}
        self._counts: Counter[str] = Counter()
        self._live = Live(
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self.draw,
        )

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the run above the table."""
        style = {"warning": "yellow", "error": "red"}.get(level, "")
        self._console.print(Text(text if level == "info" else f"{level}: {text}", style=style))

    def take(self, event: Event) -> None:
        """Show an event of a host."""
        if isinstance(event, Notice):
            self.note(f"{event.host}: {event.text}", event.level)
            return
        with self._lock:
            row = self._rows.get(event.host)
            if row is None:
                return
            if isinstance(event, PhaseStarted):
                row.phase, row.task, row.progress = event.phase, "", None
            elif isinstance(event, TaskStarted):
                row.task, row.progress = title(event.task, event.phase), None
            elif isinstance(event, Progress):
                row.progress = event

    def begin(self, name: str) -> None:
        """Add a row."""
        with self._lock:
            self._rows[name] = _Row()
        if not self._live.is_started:
            self._live.start()

    def end(self, result: HostResult) -> None:
        """Remove the row and print the result above the table."""
        with self._lock:
            self._rows.pop(result.name, None)
            self._counts[result.state] += 1
        style = "red" if result.state == "failed" else "green"
        self._console.print(Text(ended(result), style=style))

    def close(self) -> None:
        """Remove the table and restore the cursor."""
        self._live.stop()

    def draw(self) -> Group:
        """Return the table as it is now."""
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        for name in ("host", "phase", "progress", "rate", "left", "time"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        with self._lock:
            rows = list(self._rows.items())
            counts = ", ".join(f"{count} {state}" for state, count in self._counts.items())
        for name, row in rows[:_MOST_ROWS]:
            table.add_row(*(Text(cell) for cell in cells(name, row.phase, row.task, row.progress)),
                          Text(wording.duration(time.monotonic() - row.began)))  # fmt: skip
        more = f" ({len(rows) - _MOST_ROWS} not shown)" if len(rows) > _MOST_ROWS else ""
        line = f"{len(rows)} running{more}" + (f"; {counts}" if counts else "")
        return Group(table, Text(line))


def cells(name: str, phase: str, task: str, progress: Progress | None) -> tuple[str, ...]:
    """Return the cells of a host: name, phase, progress, rate and time left."""
    where = place(phase) if phase else "starting"
    if progress is None:
        return name, where, task, "", ""
    share = progress.what
    if progress.total > 0:
        done = wording.percent(progress.done, progress.total)
        share += f" {done} of {wording.size(progress.total)}"
    rate = f"{wording.size(progress.rate)}/s" if progress.rate > 0 else ""
    left = ""
    if progress.rate > 0 and progress.total > progress.done:
        left = wording.duration((progress.total - progress.done) / progress.rate)
    return name, where, share, rate, left


def ended(result: HostResult) -> str:
    """Return how a host ended, in one line."""
    took = f" ({wording.duration(result.seconds)})" if result.seconds else ""
    if result.error is not None:
        return f"{result.name}: {result.state}{took}: {result.error.code}: {result.error.what}"
    changes = f", {wording.plural(result.changed, 'change')}" if result.changed else ""
    return f"{result.name}: {result.state}{changes}{took}"


class Guarded:
    """A view that turns itself off when it fails, so that output errors never stop a run."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._silent = False

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the run, if possible."""
        self._try(lambda: self._view.note(text, level))

    def take(self, event: Event) -> None:
        """Show an event of a host, if possible."""
        self._try(lambda: self._view.take(event))

    def begin(self, name: str) -> None:
        """Show that a host has started, if possible."""
        self._try(lambda: self._view.begin(name))

    def end(self, result: HostResult) -> None:
        """Show how a host ended, if possible."""
        self._try(lambda: self._view.end(result))

    def close(self) -> None:
        """Restore the terminal."""
        self._try(self._view.close)

    def _try(self, show: Callable[[], None]) -> None:
        if self._silent:
            return
        try:
            show()
        except Exception:
            self._silent = True


def make(kind: str, *, json_result: bool = False) -> View:
    """Return the view called ``kind``, guarded. ``dream_runner.ui.make`` does it for one host."""
    return Guarded(_make(resolve(kind, os.environ, json_result=json_result)))


def _make(kind: str) -> View:
    if kind == "rich":
        return Rich()
    if kind == "json":
        return Json(sys.stdout)
    return Quiet(sys.stderr) if kind == "quiet" else Plain(sys.stderr)
