"""Listeners to the events of a run: they draw, they decide nothing.

Data goes to stdout, everything else to stderr; no meaning rests on colour.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..events import Event, Progress
from ..module_utils.dream_core.errors import UsageError

if TYPE_CHECKING:
    from ..module_utils.dream_core.fetch import Progress as Fetched

KINDS = ("auto", "plain", "rich", "json", "quiet")


class Listener(Protocol):
    """Takes events one at a time; ``close`` leaves the terminal as it was found."""

    def take(self, event: Event) -> None:
        """Show one event."""

    def note(self, text: str, level: str = "info") -> None:
        """Show a line of the wrapper's own."""

    def close(self) -> None:
        """Stop drawing."""


class Guarded:
    """A listener that falls silent when it fails, such as on a terminal that has gone.

    What is shown never decides how a run ends (catalogue row C1).
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._silent = False

    def take(self, event: Event) -> None:
        """Show one event, if that is possible."""
        self._try(lambda: self._listener.take(event))

    def note(self, text: str, level: str = "info") -> None:
        """Show a line of the wrapper's own, if that is possible."""
        self._try(lambda: self._listener.note(text, level))

    def close(self) -> None:
        """Stop drawing."""
        self._try(self._listener.close)

    def _try(self, show: Callable[[], None]) -> None:
        if self._silent:
            return
        try:
            show()
        except Exception:
            self._silent = True


def make(kind: str, *, json_result: bool = False) -> Listener:
    """Return the listener called ``kind``, guarded.

    ``auto`` is rich on a terminal and plain elsewhere; with ``--json`` it is
    quiet, because then a program reads along.
    """
    if kind not in KINDS:
        raise UsageError(
            f"{kind!r} is not a way to show progress",
            code="USAGE",
            where="--ui",
            hint="one of " + ", ".join(KINDS),
        )
    if kind == "auto":
        kind = "quiet" if json_result else "rich" if sys.stderr.isatty() else "plain"
    return Guarded(_make(kind))


def _make(kind: str) -> Listener:
    # rich takes 0.1 s to import; only who draws with it pays.
    if kind == "rich":
        from .live import LiveListener

        return LiveListener()
    if kind == "json":
        from .lines import JsonListener

        return JsonListener(sys.stdout)
    from .plain import PlainListener, QuietListener

    return QuietListener(sys.stderr) if kind == "quiet" else PlainListener(sys.stderr)


def fetch_progress(listener: Listener, what: str) -> Callable[[Fetched], None]:
    """Return what a fetch outside a run reports to, as the events of a run."""

    def take(seen: Fetched) -> None:
        event = Progress(
            time.time(), "localhost", "", what, seen.done, seen.total, seen.rate, seen.note
        )
        listener.take(event)

    return take
