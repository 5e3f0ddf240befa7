"""Print errors and results: text for people on stderr, JSON on stdout."""

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

#: Width of a table in a file or pipe, wide enough that no cell is cut.
_FILE_WIDTH = 200


def error_text(error: DreamError) -> str:
    """Return ``error[CODE]: what``, then where and hint if known, and how to read more."""
    lines = [f"error[{error.code}]: {error.what}"]
    if isinstance(error, SettingsError):
        for problem in error.problems:
            lines.append(f"  {problem.where}: {problem.what}")
            lines += [f"    hint: {problem.hint}"] if problem.hint else []
    lines += [f"  where: {error.where}"] if error.where else []
    lines += [f"  hint: {error.hint}"] if error.hint else []
    lines += [f"  more: 'dream-runner explain {error.code}'"]
    return wording.spelled("\n".join(lines))


#: How much of the log is shown below an error.
_TAIL_LINES, _TAIL_WIDTH = 6, 160
_TAIL_BYTES = 64 * 1024
#: Ansible's excerpt of the role's source, which does not help a user.
_EXCERPT = re.compile(r"^(\d+( .*)?|\s+\^ column \d+|Origin: .*)$")


def log_lines(path: str) -> list[str]:
    """Return the path of a failed run's log and its lines about the failed task."""
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
    """Return the output format: json (one document), lines (JSON lines) or text."""
    if "--json" in words:
        return "json"
    lines = "--ui=json" in words or ("--ui", "json") in pairwise(words)
    return "lines" if lines else "text"


def print_error(error: DreamError, form: str) -> None:
    """Write the error to stderr as text and, if asked for, to stdout as JSON."""
    sys.stderr.write(error_text(error) + "\n")
    document = {"outcome": "failed", "error": error.to_dict(), "exit_code": error.exit_code}
    print_result(document, "", form)


def print_result(document: dict[str, Any], text: str, form: str) -> None:
    """Write the result to stdout: as a document, as the last JSON line, or as text."""
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
    """Write the output of a command to stdout."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def print_table(table: RenderableType) -> None:
    """Write a table to stdout. Without a terminal, use ``_FILE_WIDTH`` columns."""
    # Imported here because it takes 0.1 s and only tables need it.
    from ..ui import console

    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console.for_stdout(width).print(table)


def form(json: bool, ui: str = "") -> str:
    """Return the output format: ``json``, ``lines`` or ``text``."""
    return "json" if json else "lines" if ui == "json" else "text"


def finish(command: Any, outcome: Any, ui: str, json: bool) -> int:
    """Print how a run ended and return its exit code."""
    error = outcome.error
    if error is not None:
        lines = [] if outcome.run_dir is None else log_lines(f"{outcome.run_dir}/log.txt")
        # The log's lines are needed only when the error has no message of ours.
        lines = lines if error.is_foreign else lines[:1]
        sys.stderr.write("\n".join([error_text(error), *lines]) + "\n")
    text = command.as_text(outcome) if error is None else ""
    print_result(command.as_json(outcome), text, form(json, ui))
    return error.exit_code if error else 0
