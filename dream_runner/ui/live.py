"""Events on a terminal: one moving line below the phases that are done."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..events import Event, Notice, PhaseFinished, PhaseStarted, Progress, TaskStarted
from ..module_utils.dream_core.phases import PHASES
from . import text
from .plain import outcome, place, title

_MARKS = {"ok": "[green]ok[/]  ", "unchanged": "[green]ok[/]  ", "changed": "[cyan]done[/]"}


class LiveListener:
    """Finished phases scroll up; the current one shows its task and what it fetches."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._spinner = Spinner("dots")
        self._phase = ""
        self._task = ""
        self._began = time.monotonic()
        self._progress: Progress | None = None
        # Last, because it draws at once.
        self._live = Live(
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self._draw,
        )

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, PhaseStarted):
            self._start()
            self._phase, self._task, self._progress = event.phase, "", None
            self._began = time.monotonic()
        elif isinstance(event, TaskStarted):
            self._start()
            self._task, self._progress = title(event.task, event.phase), None
        elif isinstance(event, Progress):
            self._start()
            self._progress = event
        elif isinstance(event, PhaseFinished):
            self._finish_phase(event)
        elif isinstance(event, Notice):
            self.note(event.text, event.level)

    def note(self, text: str, level: str = "info") -> None:
        """Show a line of the wrapper's own above the moving one."""
        style = {"warning": "yellow", "error": "red"}.get(level, "")
        self._console.print(Text(text if level == "info" else f"{level}: {text}", style=style))

    def close(self) -> None:
        """Remove the moving line and give the cursor back."""
        self._live.stop()

    def _start(self) -> None:
        if not self._live.is_started:
            self._live.start()

    def _finish_phase(self, event: PhaseFinished) -> None:
        mark = _MARKS.get(event.state, "[red]FAIL[/]")
        self._console.print(f"{mark} {escape(f'{place(event.phase)}: {outcome(event)}')}")
        self._phase, self._task, self._progress = "", "", None

    def _draw(self) -> Group:
        # A table, because only its cells are cut to the width of the terminal.
        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True)
        row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(self._spinner, Text(self._current()))
        if self._progress is None or self._progress.total <= 0:
            return Group(row)
        return Group(row, self._bar(self._progress))

    def _current(self) -> str:
        took = text.duration(time.monotonic() - self._began)
        number = place(self._phase) if self._phase in PHASES else "starting"
        return f"{number}: {self._task or '...'} ({took})"

    def _bar(self, progress: Progress) -> Table:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=24)
        row.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total=progress.total, completed=min(progress.done, progress.total))
        words = text.progress(progress.done, progress.total, progress.rate)
        row.add_row(bar, Text(f"{progress.what}: {words}"))
        return row
