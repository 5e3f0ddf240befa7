"""How errors and results leave the program: text for people on stderr, JSON on stdout."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .. import wording
from ..module_utils.dream_core.errors import DreamError
from ..settings.problems import SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Columns of a table in a file or pipe: a cut cell could not be read there.
_FILE_WIDTH = 200


def error_text(error: DreamError) -> str:
    """Return ``error[CODE]: what``, where and hint as far as known, and how to read more."""
    lines = [f"error[{error.code}]: {error.what}"]
    if isinstance(error, SettingsError):
        for problem in error.problems:
            lines.append(f"  {problem.where}: {problem.what}")
            lines += [f"    hint: {problem.hint}"] if problem.hint else []
    lines += [f"  where: {error.where}"] if error.where else []
    lines += [f"  hint: {error.hint}"] if error.hint else []
    lines += [f"  more: 'dream-runner explain {error.code}'"]
    return wording.spelled("\n".join(lines))


#: As much of a log as a person reads below an error.
_TAIL_LINES, _TAIL_WIDTH = 6, 160
_TAIL_BYTES = 64 * 1024
#: Ansible's excerpt of the role's own text, which is not the reader's business.
_EXCERPT = re.compile(r"^(\d+( .*)?|\s+\^ column \d+|Origin: .*)$")


def log_lines(path: str) -> list[str]:
    """Return where the log of a failed run is, and what it says of the task that failed."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [f"  log: {path}", *(f"    | {line}" for line in end_of_log(text))]


def end_of_log(text: str) -> list[str]:
    """Return the last lines of Ansible's output that are about the last task."""
    task = text.rpartition("\nTASK [")[2].partition("\nPLAY RECAP")[0]
    lines = [line.rstrip(" *") for line in task.splitlines()[1:]]
    told = [line for line in lines if line and not _EXCERPT.match(line)]
    return [
        line if len(line) <= _TAIL_WIDTH else line[: _TAIL_WIDTH - 4] + " ..."
        for line in told[-_TAIL_LINES:]
    ]


def form_of(words: Sequence[str]) -> str:
    """Return how the caller reads: json (one document), lines (JSON lines) or text."""
    if "--json" in words:
        return "json"
    lines = "--ui=json" in words or ("--ui", "json") in pairwise(words)
    return "lines" if lines else "text"


def print_error(error: DreamError, form: str) -> None:
    """Say what went wrong: always to a person, and to a program that reads along."""
    sys.stderr.write(error_text(error) + "\n")
    document = {"outcome": "failed", "error": error.to_dict(), "exit_code": error.exit_code}
    print_result(document, "", form)


def print_result(document: dict[str, Any], text: str, form: str) -> None:
    """Write the result to stdout: the document, the last of the JSON lines, or the text."""
    if form == "json":
        print_json(document)
    elif form == "lines":
        line = json.dumps({"type": "result", **document}, ensure_ascii=False, default=str)
        print_text(line)
    elif text:
        from ..ui import terminal

        print_text(terminal.for_reader(wording.spelled(text)))


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
    from ..ui import console

    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console.for_stdout(width).print(table)


def form(json: bool, ui: str = "") -> str:
    """Return how a result is printed: ``json``, ``lines`` or ``text``."""
    return "json" if json else "lines" if ui == "json" else "text"


def finish(command: Any, outcome: Any, ui: str, json: bool) -> int:
    """Tell how a run ended and return its exit code."""
    error = outcome.error
    if error is not None:
        lines = [] if outcome.run_dir is None else log_lines(f"{outcome.run_dir}/log.txt")
        # An error of ours has said it all.
        lines = lines if error.is_foreign else lines[:1]
        sys.stderr.write("\n".join([error_text(error), *lines]) + "\n")
    text = command.as_text(outcome) if error is None else ""
    print_result(command.as_json(outcome), text, form(json, ui))
    return error.exit_code if error else 0
