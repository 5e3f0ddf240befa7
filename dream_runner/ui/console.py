"""Create rich consoles that escape control characters in text from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich import console
from rich.segment import Segment

from ..module_utils.dream_core.printable import printable, unguarded


class Console(console.Console):
    """A console that escapes text; only rich itself sends control sequences."""

    def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
        """Return the segments of a renderable with escaped text."""
        for segment in super().render(*args, **options):
            yield segment if segment.control else _safe(segment)


def _safe(segment: Segment) -> Segment:
    text = printable(segment.text)
    return segment if text is segment.text else Segment(text, segment.style)


def for_stderr() -> Console:
    """Return a console on standard error."""
    return Console(file=unguarded(sys.stderr), highlight=False)


def for_stdout(width: int | None) -> Console:
    """Return a console on standard output. ``width`` None: the width of the terminal."""
    return Console(file=unguarded(sys.stdout), width=width, highlight=False, markup=False)
