"""Words for numbers, shared by everything that speaks to a person."""

from __future__ import annotations

import math
import re
import textwrap

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Return ``18.6 GB``; powers of ten, as disks and model pages count."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 1 if unit > 1 and value < 99.5 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return ``1.2 s``, ``3 min 5 s`` or ``2 h 4 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def elapsed(seconds: float) -> str:
    """Return a time that runs, in whole seconds."""
    return f"{int(seconds)} s" if seconds < 60 else duration(int(seconds))


def countdown(seconds: float) -> str:
    """Return a time to come in whole seconds: a tenth of them only makes an eye restless."""
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 60 else duration(whole)


def percent(done: int, total: int) -> str:
    """Return ``42 %``; 100 only when it is all there."""
    if total <= 0:
        return "?"
    return f"{100 if done >= total else min(99, done * 100 // total)} %"


def progress(done: int, total: int, rate: float = 0.0) -> str:
    """Return ``42 % of 18.6 GB, 85.0 MB/s, 2 min 7 s left``, as far as it is known."""
    if done <= 0 and total <= 0:
        return "working"
    text = f"{percent(done, total)} of {size(total)}" if total > 0 else size(done)
    if rate > 0:
        text += f", {size(rate)}/s"
        if total > done:
            text += f", {countdown((total - done) / rate)} left"
    return text


def plural(count: int, noun: str) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


#: Where the last column of a line begins: what wraps goes on below it.
_COLUMN = re.compile(r"\S {2,}(?=\S)")


#: Narrower than this, a column is no place for words.
_LEAST = 16


def fold(text: str, width: int) -> str:
    """Return ``text`` for a terminal: longer lines go on below their last column.

    A word is never broken, so that a path or a digest can be copied.
    """
    return "\n".join(_folded(line, width) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    columns = [found.end() for found in _COLUMN.finditer(line) if found.end() <= width * 0.6]
    start = columns[-1] if columns else len(line) - len(line.lstrip())
    lines = textwrap.wrap(
        line[start:],
        max(width, start + _LEAST),
        initial_indent=" " * start,
        subsequent_indent=" " * (start or 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return line[:start] + "\n".join(lines)[start:]
