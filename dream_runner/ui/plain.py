"""Show events as lines of text: all for logs, or only warnings and errors for scripts."""

from __future__ import annotations

import time
from typing import TextIO

from .. import wording
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.records import due_phases
from ..run.events import (
    Event,
    Notice,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    TaskFinished,
)

#: Minimum seconds between two progress lines.
_PROGRESS_SECONDS = 10.0
_ENOUGH = float("inf")
#: Reasons that are shown. Not shown: a first install, or a run of all phases on request.
_TELLING = (
    due_phases.CHANGED,
    due_phases.DRIFT,
    due_phases.INTERRUPTED,
    due_phases.FAILED,
    due_phases.VERSION,
)

#: What each phase does.
TITLES = {
    "preflight": "Check this machine",
    "detection": "Detect the hardware",
    "features": "Choose the features",
    "requirements": "Install system packages",
    "docker": "Set up the container engine",
    "directories": "Create the directories",
    "devtools": "Install developer tools",
    "images": "Fetch the container images",
    "offline": "Check the offline files",
    "amd_tuning": "Tune the AMD GPU",
    "models": "Fetch the model",
    "services": "Start the engine",
    "health": "Test the model",
    "summary": "Write the summary",
}
#: Phases that are shown even if they change nothing.
_ALWAYS_SHOWN = ("health",)

_ENDED = {
    "unchanged": ("ok", "skipped: up to date"),
    "ok": ("ok", "nothing to change"),
    "changed": ("done", ""),
    "failed": ("FAILED", ""),
}


def place(phase: str) -> str:
    """Return ``[11/14] models``."""
    number = PHASES.index(phase) + 1 if phase in PHASES else 0
    return f"[{number:2d}/{len(PHASES)}] {phase}" if number else phase


def prefix(phase: str) -> str:
    """Return ``[11/14] models: ``, or an empty string outside a phase."""
    return f"{place(phase)}: " if phase else ""


class Checks:
    """Count phases without changes, to report them in one line."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._count = 0

    def hides(self, event: PhaseFinished) -> bool:
        """Tell whether a phase is hidden, and count it if so."""
        is_news = event.state not in ("ok", "unchanged") or (
            event.phase in _ALWAYS_SHOWN and event.state == "ok"
        )
        if is_news or self._verbose:
            return False
        self._count += 1
        return True

    def line(self) -> str:
        """Return a line about the phases counted since the last call, or an empty string."""
        count, self._count = self._count, 0
        return f"{wording.plural(count, 'check')} passed" if count else ""


def ended(event: PhaseFinished, *, brief: bool = False) -> str:
    """Return the text after the mark of a finished phase; ``brief`` leaves out the time."""
    words = TITLES.get(event.phase, event.phase)
    if event.phase in _ALWAYS_SHOWN and event.state != "failed":
        words = "The model answered"
    return words if brief else f"{words} ({wording.duration(event.seconds)})"


def title(task: str, phase: str) -> str:
    """Return the name of a task without Ansible's prefix for the role."""
    return task.removeprefix(f"{phase} : ")


def outcome(event: PhaseFinished, *, brief: bool | None = None) -> str:
    """Return how a phase ended and, if it ran again, why.

    A ``brief`` that is not None is for lines that start with a mark: the state is not repeated.
    True also leaves out the time.
    """
    said, more = _ENDED.get(event.state, (event.state, ""))
    more = wording.plural(event.changed, "change") if event.state == "changed" else more
    words = ", ".join(filter(None, (said, more))) if brief is None else more or said
    if not brief and event.state != "unchanged":
        words += f" ({wording.duration(event.seconds)})"
    return f"{words}; {event.why}" if event.why.startswith(_TELLING) else words


class PlainListener:
    """Show a line for each phase with changes, for progress, and for each notice."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._checks = Checks(verbose=verbose)
        self._told: dict[str, float] = {}

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, PhaseFinished):
            self._finished(event)
        elif isinstance(event, RunFinished):
            self._fold()
        elif isinstance(event, Notice):
            self.note(event.text, event.level)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, PhaseStarted):
            self._told = {}
        elif isinstance(event, TaskFinished) and event.status in ("failed", "unreachable"):
            self._line(f"{prefix(event.phase)}{title(event.task, event.phase)}: {event.status}")

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the wrapper."""
        self._line(text if level == "info" else f"{level}: {text}")

    def close(self) -> None:
        """Do nothing: every line is already written."""

    def _finished(self, event: PhaseFinished) -> None:
        if self._checks.hides(event):
            return
        if event.state == "failed":
            self._fold()
        if self._verbose:
            self._line(f"{place(event.phase)}: {outcome(event)}")
        else:
            self._line(f"{_ENDED.get(event.state, (event.state, ''))[0]}: {ended(event)}")

    def _fold(self) -> None:
        line = self._checks.line()
        if line:
            self._line(f"ok: {line}")

    def _progress(self, event: Progress) -> None:
        now, last = time.monotonic(), self._told.get(event.what, 0.0)
        finished = 0 < event.total <= event.done
        if not finished and now - last < _PROGRESS_SECONDS:
            return
        # The end of a download is shown once.
        if last == _ENOUGH:
            return
        self._told[event.what] = _ENOUGH if finished else now
        line = f"{prefix(event.phase) if self._verbose else ''}{event.what}: "
        line += wording.progress(event.done, event.total, event.rate)
        self._line(line + (f" ({event.note})" if event.note else ""))

    def _line(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class QuietListener(PlainListener):
    """Warnings and errors only."""

    def take(self, event: Event) -> None:
        """Show the event if it is a notice with a warning or error."""
        if isinstance(event, Notice):
            self.note(event.text, event.level)

    def note(self, text: str, level: str = "info") -> None:
        """Show a message if it is a warning or an error."""
        if level != "info":
            super().note(text, level)
