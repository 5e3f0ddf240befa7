"""How errors and results leave the program: text for people on stderr, JSON on stdout."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from .module_utils.dream_core.errors import DreamError
from .settings import SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Columns of a table in a file or pipe: a cut cell could not be read there.
_FILE_WIDTH = 200


def error_text(error: DreamError) -> str:
    """Return ``error[CODE]: what``, then where and hint as far as there are any."""
    lines = [f"error[{error.code}]: {error.what}"]
    if isinstance(error, SettingsError):
        for problem in error.problems:
            lines.append(f"  {problem.where}: {problem.what}")
            lines += [f"    hint: {problem.hint}"] if problem.hint else []
    lines += [f"  where: {error.where}"] if error.where else []
    lines += [f"  hint: {error.hint}"] if error.hint else []
    return "\n".join(lines)


def print_error(error: DreamError, *, as_json: bool) -> None:
    """Say what went wrong: always to a person, with ``--json`` to a program too."""
    sys.stderr.write(error_text(error) + "\n")
    if as_json:
        print_json({"error": error.to_dict(), "exit_code": error.exit_code})


def print_json(document: Any) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Write the answer of a command to stdout."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def print_table(table: RenderableType) -> None:
    """Write a table to stdout; as wide as it needs where no terminal limits it."""
    # 0.1 s to import, for tables only.
    from rich.console import Console

    width = None if sys.stdout.isatty() else _FILE_WIDTH
    Console(width=width, highlight=False, markup=False).print(table)
