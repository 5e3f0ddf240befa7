r"""Escape text from outside: a host, a server, a file or a user may put anything in it.

Escape sequences, bells, carriage returns, bidirectional controls, zero-width characters and
Unicode's line separators are written as ``\uXXXX``. In a JSON string that is the same
character, so JSON output keeps its exact values.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

_KEPT = frozenset("\n\t")


def printable(text: object) -> str:
    """Return ``text`` with everything but visible characters, newlines and tabs escaped."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if is_harmless(char) else _escaped(char) for char in shown)


def line(text: object, limit: int = 300) -> str:
    """Return at most ``limit`` characters of ``text``; unprintable ones become spaces."""
    return "".join(char if char.isprintable() else " " for char in str(text)[:limit])


def is_harmless(char: str) -> bool:
    """Return whether a terminal and an editor only display the character."""
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join("\\u" + units[start : start + 4] for start in range(0, len(units), 4))


class Screen:
    """A text stream that escapes what is written to it and wraps another stream.

    ``unguarded`` is the wrapped stream, for code that colours its own text.
    """

    def __init__(self, stream: Any) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write ``text``, escaped; return its length."""
        if not isinstance(text, str):
            raise TypeError("must be text, not %s" % type(text).__name__)
        self.unguarded.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of ``lines``, escaped."""
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)

    def __iter__(self) -> Any:
        return iter(self.unguarded)


def guard() -> None:
    """Escape everything that this program writes to its standard streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Screen):
            setattr(sys, name, Screen(stream))


def unguarded(stream: Any) -> Any:
    """Return the stream that a guarded one wraps, or the stream itself."""
    return stream.unguarded if isinstance(stream, Screen) else stream
