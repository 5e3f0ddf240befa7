"""How the command is spelled, so that a line which is copied works in the reader's shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "dream-runner"

#: A command in a sentence: quoted, with a verb behind it.
_QUOTED = re.compile(rf"(?<=['`]){NAME}(?= [a-z-])")


def command(environment: Mapping[str, str] | None = None, launcher: str | None = None) -> str:
    """Return ``dream-runner`` where the shell finds this one by that name, else its full path.

    ``launcher`` is the program of this environment; links to it count as it. Quoted for a shell.
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
    """Return ``text`` with each quoted command (``'dream-runner status'``) as one that works."""
    if not _QUOTED.search(text):
        return text
    name = command(environment)
    return _QUOTED.sub(lambda _: name, text)


def path_line(
    environment: Mapping[str, str] | None = None, launcher: str | None = None
) -> str | None:
    """Return the line that makes the shell find the command, or None where it does or cannot."""
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
    """Return where install.sh puts the command, in the order in which a reader wants to type it."""
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
