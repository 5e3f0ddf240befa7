"""Listeners that show the events of a run. They decide nothing.

Data goes to stdout, everything else to stderr. Colour alone never carries meaning.
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

#: Environment variable with the default for --ui.
VARIABLE = "DREAM_UI"
KINDS = ("auto", "plain", "rich", "json", "quiet")


class Listener(Protocol):
    """Shows events one at a time; ``close`` restores the terminal."""

    def take(self, event: Event) -> None:
        """Show one event."""

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the wrapper."""

    def close(self) -> None:
        """Stop drawing."""


class Guarded:
    """A listener that turns itself off when it fails, for example on a closed terminal.

    An output error never affects a run (catalogue row C1).
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._silent = False

    def take(self, event: Event) -> None:
        """Show one event, if possible."""
        self._try(lambda: self.listener.take(event))

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the wrapper, if possible."""
        self._try(lambda: self.listener.note(text, level))

    def close(self) -> None:
        """Stop drawing."""
        self._try(self.listener.close)

    def _try(self, show: Callable[[], None]) -> None:
        if self._silent:
            return
        try:
            show()
        except Exception:
            self._silent = True


def make(kind: str, *, json_result: bool = False, verbose: bool = False) -> Listener:
    """Return the listener called ``kind``, guarded.

    ``auto`` is the value of DREAM_UI, else rich on a terminal and plain elsewhere. With
    ``--json`` it is quiet. ``verbose`` shows every phase with the reason why it ran.
    """
    return Guarded(_make(resolve(kind, os.environ, json_result=json_result), verbose))


def resolve(kind: str, environment: Mapping[str, str], *, json_result: bool) -> str:
    """Return one of ``KINDS``, but not ``auto``. Raises UsageError."""
    if kind == "auto" and json_result:
        return "quiet"
    where = "--ui"
    if kind == "auto" and environment.get(VARIABLE):
        kind, where = environment[VARIABLE], VARIABLE
    # JSON lines are for programs, which can pass --ui themselves.
    allowed = [word for word in KINDS if where == "--ui" or word != "json"]
    if kind not in allowed:
        raise UsageError(
            f"{kind!r} is not a valid value",
            code="USAGE",
            where=where,
            hint="use one of " + ", ".join(allowed),
        )
    return _for_stderr(environment) if kind == "auto" else kind


class LazyListener:
    """A listener that is created when the first event is shown.

    rich takes 0.1 s to import. A run without changes never needs it, and other runs can show
    their first line earlier.
    """

    def __init__(self, make: Callable[[], Listener]) -> None:
        self._make = make
        self._made: Listener | None = None

    def take(self, event: Event) -> None:
        """Show one event."""
        self._drawn().take(event)

    def note(self, text: str, level: str = "info") -> None:
        """Show a message of the wrapper."""
        if self._made is None and level == "info":
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        else:
            self._drawn().note(text, level)

    def close(self) -> None:
        """Stop drawing, if it was started."""
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
    """Return rich for a terminal that can overwrite lines, else plain."""
    can_move = environment.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return "rich" if can_move and sys.stderr.isatty() else "plain"


def _make(kind: str, verbose: bool) -> Listener:
    if kind == "rich":
        return LazyListener(lambda: _live(verbose))
    if kind == "json":
        from .lines import JsonListener

        return JsonListener(sys.stdout)
    from .plain import PlainListener, QuietListener

    if kind == "quiet":
        return QuietListener(sys.stderr)
    return PlainListener(sys.stderr, verbose=verbose)


def fetch_progress(listener: Listener, what: str) -> Callable[[Fetched], None]:
    """Return a callback that shows the progress of a fetch outside a run."""

    def take(seen: Fetched) -> None:
        event = Progress(
            time.time(), "localhost", "", what, seen.done, seen.total, seen.rate, seen.note
        )
        listener.take(event)

    return take
