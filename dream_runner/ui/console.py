"""The one place that makes a console of rich: styled, and safe for text from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich import console
from rich.segment import Segment

from ..module_utils.dream_core.printable import printable, unguarded


class Console(console.Console):
    """Escape what is to be shown; the colours and movements are rich's own."""

    def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
        """Return the segments of a renderable with harmless text."""
        for segment in super().render(*args, **options):
            yield segment if segment.control else _safe(segment)


def _safe(segment: Segment) -> Segment:
    text = printable(segment.text)
    return segment if text is segment.text else Segment(text, segment.style)


def for_stderr() -> Console:
    """Return a console on standard error."""
    return Console(file=unguarded(sys.stderr), highlight=False)


def for_stdout(width: int | None) -> Console:
    """Return a console on standard output; ``width`` None: that of the terminal."""
    return Console(file=unguarded(sys.stdout), width=width, highlight=False, markup=False)
