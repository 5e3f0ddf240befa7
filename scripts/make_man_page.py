"""Write docs/dream-runner.1 from the commands, their options and examples.

    python scripts/make_man_page.py

A test compares the committed page with the output of this script.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from dream_runner.cli import app, examples

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dream-runner.1"

_HEAD = r"""
.TH DREAM\-RUNNER 1 "" "dream\-runner" "User Commands"
.SH NAME
dream\-runner \- turn a Linux machine, or a fleet of them, into a private AI server
.SH SYNOPSIS
.B dream\-runner
.I COMMAND
.RI [ OPTION ...]
.SH DESCRIPTION
Every command is safe to run again:
.B dream\-runner install
is how you install, resume, repair, change and upgrade. It checks the machine and does only what
is missing. Every setting is an option of
.BR install ,
an environment variable (\-\-engine\-port is DREAM_ENGINE_PORT) and a line of an answers file
.RB ( "dream\-runner init" ).
"""

_TAIL = r"""
.SH EXIT STATUS
0 done, 1 unexpected, 2 usage or settings, 3 requirements, 4 privileges, 5 network, 6 disk,
7 integrity, 8 engine, 9 GPU or driver, 10 reboot needed, 11 degraded, 12 another run is active,
13 some hosts of a fleet failed, 20 changes pending
.RB ( "plan \-\-exit\-code" ),
130 interrupted: run again to continue.
.SH FILES
.TP
.I ~/.local/state/dream\-runner
Choices, facts, receipts, and the journals of the ten newest runs. With $XDG_STATE_HOME, it is
below that directory.
"""


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD.strip(), ".SH COMMANDS"]
    for words, command in _leaves(typer.main.get_command(app.app)):
        parts += _command(words, command)
    return "\n".join([*parts, _TAIL.strip()]) + "\n"


def _leaves(command: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, below in command.commands.items():
        yield from _leaves(below, f"{words} {name}".strip())


def _command(words: str, command: Any) -> Iterator[str]:
    arguments = [item.metavar for item in command.params if not item.opts[0].startswith("-")]
    yield f".SS {_roff(' '.join([words, *filter(None, arguments)]))}"
    said = inspect.cleandoc(command.help).split("For example:")[0].strip()
    yield from ("\n.PP\n".join(_roff(part) for part in said.split("\n\n"))).splitlines()
    for item in command.params:
        if item.opts[0].startswith("-"):
            yield from _option(item)
    yield ".PP\nFor example:"
    for typed, meant in examples.EXAMPLES[words]:
        yield f".TP\n.B {_roff(f'dream-runner {typed}')}\n{_roff(meant)}"


def _option(item: Any) -> Iterator[str]:
    spelled = ", ".join([*item.opts, *item.secondary_opts])
    value = "" if item.is_flag else rf" \fI{_roff(item.metavar or 'N')}\fR"
    yield rf".TP{chr(10)}\fB{_roff(spelled)}\fR{value}"
    yield _roff(item.help)


def _roff(text: str) -> str:
    """Return text with all special characters of roff escaped."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    lines = (rf"\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
