"""Listeners to the events of a run: they draw, they decide nothing.

Data goes to stdout, everything else to stderr; no meaning rests on colour.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from ..module_utils.dream_core.errors import UsageError
from ..run.events import Event, Progress

if TYPE_CHECKING:
    from ..module_utils.dream_core.fetch.request import Progress as Fetched

#: What a person who never wants a moving line sets once.
VARIABLE = "DREAM_UI"
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


def make(kind: str, *, json_result: bool = False, verbose: bool = False) -> Listener:
    """Return the listener called ``kind``, guarded.

    ``auto`` is what DREAM_UI says, else rich on a terminal and plain elsewhere; with
    ``--json`` it is quiet, because then a program reads along. ``verbose`` shows every phase
    with the reason why it ran.
    """
    return Guarded(_make(resolve(kind, os.environ, json_result=json_result), verbose))


def resolve(kind: str, environment: Mapping[str, str], *, json_result: bool) -> str:
    """Return which of ``KINDS`` is meant, never ``auto``. Raises UsageError."""
    if kind == "auto" and json_result:
        return "quiet"
    where = "--ui"
    if kind == "auto" and environment.get(VARIABLE):
        kind, where = environment[VARIABLE], VARIABLE
    # JSON lines belong to a program, and that can say so each time.
    allowed = [word for word in KINDS if where == "--ui" or word != "json"]
    if kind not in allowed:
        raise UsageError(
            f"{kind!r} is not a way to show progress",
            code="USAGE",
            where=where,
            hint="one of " + ", ".join(allowed),
        )
    return _for_stderr(environment) if kind == "auto" else kind


class Late:
    """A listener that is only made when something is to be drawn.

    rich takes 0.1 s to import: a run that finds nothing to do never pays that, and
    the first line of every other one is on the screen before.
    """

    def __init__(self, make: Callable[[], Listener]) -> None:
        self._make = make
        self._made: Listener | None = None

    def take(self, event: Event) -> None:
        """Show one event."""
        self._drawn().take(event)

    def note(self, text: str, level: str = "info") -> None:
        """Show a line of the wrapper's own."""
        if self._made is None and level == "info":
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        else:
            self._drawn().note(text, level)

    def close(self) -> None:
        """Stop drawing, if it was begun."""
        if self._made is not None:
            self._made.close()

    def _drawn(self) -> Listener:
        if self._made is None:
            self._made = self._make()
        return self._made


def _live(verbose: bool) -> Listener:
    from .live import LiveListener

    return LiveListener(verbose=verbose)


def _for_stderr(environment: Mapping[str, str]) -> str:
    """Return rich for a terminal in which a line can be drawn over, else plain."""
    can_move = environment.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return "rich" if can_move and sys.stderr.isatty() else "plain"


def _make(kind: str, verbose: bool) -> Listener:
    if kind == "rich":
        return Late(lambda: _live(verbose))
    if kind == "json":
        from .lines import JsonListener

        return JsonListener(sys.stdout)
    from .plain import PlainListener, QuietListener

    if kind == "quiet":
        return QuietListener(sys.stderr)
    return PlainListener(sys.stderr, verbose=verbose)


def fetch_progress(listener: Listener, what: str) -> Callable[[Fetched], None]:
    """Return what a fetch outside a run reports to, as the events of a run."""

    def take(seen: Fetched) -> None:
        event = Progress(
            time.time(), "localhost", "", what, seen.done, seen.total, seen.rate, seen.note
        )
        listener.take(event)

    return take
