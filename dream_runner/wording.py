"""Format numbers, times, sizes, and the command as it works in this shell."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

NAME = "dream-runner"

#: A quoted command in a sentence, followed by a subcommand or option.
_QUOTED = re.compile(rf"(?<=['`]){NAME}(?= [a-z-])")


def command(environment: Mapping[str, str] | None = None, launcher: str | None = None) -> str:
    """Return ``dream-runner`` if the shell finds this program by that name, else its full path.

    ``launcher`` is the program of this environment; links to it count too. The result is quoted
    for a shell.
    """
    environment = os.environ if environment is None else environment
    launcher = launcher or _launcher()
    found = shutil.which(NAME, path=environment.get("PATH", os.defpath))
    if found and _is_same(found, launcher):
        return NAME
    for path in (*_links(environment), launcher):
        if _is_same(path, launcher) and os.access(path, os.X_OK):
            return shlex.quote(path)
    return f"{shlex.quote(sys.executable)} -m dream_runner"


def spelled(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return ``text`` with each quoted command (``'dream-runner status'``) as it works here."""
    if not _QUOTED.search(text):
        return text
    name = command(environment)
    return _QUOTED.sub(lambda _: name, text)


def path_line(
    environment: Mapping[str, str] | None = None, launcher: str | None = None
) -> str | None:
    """Return the line that puts the command on PATH; None if it is there, or has no link to add."""
    environment = os.environ if environment is None else environment
    launcher = launcher or _launcher()
    home = environment.get("HOME", "")
    link = os.path.join(home, ".local", "bin", NAME)
    if command(environment, launcher) == NAME or not _is_same(link, launcher):
        return None
    if os.path.basename(environment.get("SHELL", "")) == "fish":
        return "fish_add_path ~/.local/bin"
    return 'export PATH="$HOME/.local/bin:$PATH"'


def _links(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return where install.sh puts the command, the shortest to type first."""
    home = environment.get("HOME", "")
    data = environment.get("XDG_DATA_HOME", "")
    data = data if os.path.isabs(data) else os.path.join(home, ".local", "share")
    return (
        os.path.join("/usr/local/bin", NAME),
        os.path.join(home, ".local", "bin", NAME),
        os.path.join(data, NAME, "venv", "bin", NAME),
    )


def _launcher() -> str:
    return str(Path(sys.executable).parent / NAME)


def _is_same(path: str, other: str) -> bool:
    return os.path.exists(path) and os.path.realpath(path) == os.path.realpath(other)


def size(count: float) -> str:
    """Return ``18.6 GB``: powers of ten, as on disks and model pages."""
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
    """Return elapsed time in whole seconds."""
    return f"{int(seconds)} s" if seconds < 60 else duration(int(seconds))


def countdown(seconds: float) -> str:
    """Return remaining time in whole seconds, rounded up."""
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 60 else duration(whole)


def percent(done: int, total: int) -> str:
    """Return ``42 %``; 100 only when complete."""
    if total <= 0:
        return "?"
    return f"{100 if done >= total else min(99, done * 100 // total)} %"


def progress(done: int, total: int, rate: float = 0.0) -> str:
    """Return ``42 % of 18.6 GB, 85.0 MB/s, 2 min 7 s left``, without the parts that are unknown."""
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


def fold(text: str, width: int) -> str:
    """Wrap ``text`` for a terminal; continuation lines are indented to the last column.

    Words are never broken, so a path or a digest can be copied.
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


_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


#: The start of the last column of a line.
_COLUMN = re.compile(r"\S {2,}(?=\S)")


#: Minimum width of a wrapped column.
_LEAST = 16
