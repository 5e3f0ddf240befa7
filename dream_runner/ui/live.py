"""Show events on a terminal: live lines below the finished phases."""

from __future__ import annotations

import threading
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .. import wording
from ..run.events import (
    Event,
    Notice,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    TaskStarted,
)
from .console import for_stderr
from .plain import Checks, ended, outcome, place, title

_MARKS = {"ok": "[green]ok[/]  ", "unchanged": "[green]ok[/]  ", "changed": "[cyan]done[/]"}
#: On narrower terminals, lines are shorter and have no bar.
_WIDE = 70
_BAR = 16
_ROOM_FOR_REGISTRY = 110
#: Top, right, bottom, left.
_INDENT = (0, 0, 0, 2)
#: Maximum number of downloads that are shown.
_MOST_BARS = 6


class LiveListener:
    """Finished phases scroll up; the current one shows its task and its downloads."""

    def __init__(self, console: Console | None = None, *, verbose: bool = False) -> None:
        self._console = console or for_stderr()
        # The "dots" spinner needs Braille characters.
        self.spinner = Spinner("dots" if "utf" in self._console.encoding.lower() else "line")
        self._verbose = verbose
        self._checks = Checks(verbose=verbose)
        self._phase = ""
        self._task = ""
        self._first = self._began = time.monotonic()
        self._progress: dict[str, Progress] = {}
        # One thread delivers events, another one draws.
        self._lock = threading.Lock()
        # Created last, because it draws at once.
        self._live = Live(
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self.draw,
        )

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, PhaseStarted):
            self._show(event.phase, "")
            self._began = time.monotonic()
        elif isinstance(event, TaskStarted):
            self._show(self._phase, title(event.task, event.phase))
        elif isinstance(event, Progress):
            self._start()
            with self._lock:
                self._progress[event.what] = event
        elif isinstance(event, PhaseFinished):
            self._finish_phase(event)
        elif isinstance(event, RunFinished):
            self._fold()
        elif isinstance(event, Notice):
            self.note(event.text, event.level)

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the wrapper above the live lines."""
        style = {"warning": "yellow", "error": "red"}.get(level, "")
        self._console.print(Text(text if level == "info" else f"{level}: {text}", style=style))

    def close(self) -> None:
        """Remove the live lines and restore the cursor."""
        self._live.stop()

    def _start(self) -> None:
        if not self._live.is_started:
            self._live.start()

    def _show(self, phase: str, task: str) -> None:
        self._start()
        with self._lock:
            self._phase, self._task, self._progress = phase, task, {}

    def _finish_phase(self, event: PhaseFinished) -> None:
        with self._lock:
            self._phase, self._task, self._progress = "", "", {}
        if self._checks.hides(event):
            return
        if event.state == "failed":
            self._fold()
        mark = _MARKS.get(event.state, "[red]FAIL[/]")
        if self._verbose:
            line = f"{self._place(event.phase)}: {outcome(event, brief=not self._is_wide)}"
        else:
            line = ended(event, brief=not self._is_wide)
        self._console.print(f"{mark} {escape(line)}")

    def _fold(self) -> None:
        line = self._checks.line()
        if line:
            self._console.print(f"{_MARKS['ok']} {line}")

    def draw(self) -> Group:
        """Return the moving lines as they are now."""
        with self._lock:
            current, known = self._current(), list(self._progress.values())
        # A table, because rich cuts only table cells to the width of the terminal.
        row = Table.grid(padding=(0, 1))
        row.add_column(min_width=1)
        row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(self.spinner, Text(current))
        return Group(row, *self._bars(known))

    def _current(self) -> str:
        now = time.monotonic()
        took = wording.elapsed(now - self._began)
        if self._is_wide and self._began - self._first > 1:
            took += f", {wording.elapsed(now - self._first)} in total"
        if not self._phase:
            return f"{self._task or 'starting'} ({took})"
        return f"{self._place(self._phase)} ({took}): {self._task or '...'}"

    @property
    def _is_wide(self) -> bool:
        return self._console.width >= _WIDE

    def _place(self, phase: str) -> str:
        return place(phase) if self._is_wide else phase

    def _bars(self, known: list[Progress]) -> list[RenderableType]:
        """Return a line for each running download; finished ones are left out."""
        moving = [item for item in known if not 0 < item.total <= item.done] or known[-1:]
        most = max(1, min(_MOST_BARS, self._console.height - 3))
        # One table, so that bars, figures and names are aligned.
        rows = Table.grid(padding=(0, 1, 0, 0))
        if self._is_wide:
            rows.add_column(width=_BAR, no_wrap=True)
        rows.add_column(no_wrap=True, overflow="ellipsis")
        # The name is last, so that it is cut first on a narrow terminal.
        rows.add_column()
        for item in moving[:most]:
            cells: list[RenderableType] = [_figures(item), self._name(item)]
            rows.add_row(*([_bar(item)] if self._is_wide else []), *cells)
        lines: list[RenderableType] = [Padding(rows, _INDENT)] if moving else []
        if len(moving) > most:
            lines.append(Text(f"  and {len(moving) - most} more"))
        return lines

    def _name(self, item: Progress) -> Text:
        # The end of an image's name is more useful than its registry.
        is_short = self._console.width < _ROOM_FOR_REGISTRY
        name = item.what.rpartition("/")[2] if is_short else item.what
        words = f"{name} ({item.note})" if item.note else name
        return Text(words, no_wrap=True, overflow="ellipsis")


def _bar(item: Progress) -> RenderableType:
    return ProgressBar(item.total, min(item.done, item.total)) if item.total > 0 else Text("")


def _figures(item: Progress) -> Text:
    return Text(wording.progress(item.done, item.total, item.rate))
