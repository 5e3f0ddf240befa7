"""Ask questions on the controlling terminal, independent of stdin.

``/dev/tty`` is used instead of stdin, so that questions work in a script that is piped into a
shell. Without a terminal, or in its background, nothing is asked (catalogue row C3).
"""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO, cast

from .. import wording
from ..module_utils.dream_core.printable import Screen, printable

_TERMINAL = "/dev/tty"
_USUAL_WIDTH = 80
#: Number of invalid answers before giving up.
_ATTEMPTS = 3
#: Words that people type instead of the offered letter.
_LONG = {"y": "yes", "n": "no"}


def is_present() -> bool:
    """Tell whether there is a terminal to ask on."""
    try:
        handle = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # The kernel stops a background process that reads its terminal.
        return os.tcgetpgrp(handle) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(handle)


def ask(question: str, answers: Sequence[str], default: str) -> str | None:
    """Return one of ``answers``, or None without a terminal or a valid answer.

    Any unambiguous prefix of an answer is accepted; an empty line means ``default``.
    """
    if not is_present():
        return None
    choices = "/".join(word.upper()[0] + word[1:] if word == default else word for word in answers)
    # A terminal that is closed meanwhile gives no answer.
    with contextlib.suppress(OSError), _opened() as (reader, writer):
        for _ in range(_ATTEMPTS):
            writer.write(wording.fold(f"{question} [{choices}]", _width(writer)) + " ")
            writer.flush()
            line = reader.readline()
            if not line:
                writer.write("\n")
                return None
            answer = _match(line.strip().lower(), answers, default)
            if answer:
                return answer
            writer.write(f"Please answer {', '.join(answers[:-1])} or {answers[-1]}.\n")
    return None


def _match(typed: str, answers: Sequence[str], default: str) -> str | None:
    if not typed:
        return default
    found = [word for word in answers if word.startswith(typed) or typed == _LONG.get(word)]
    return found[0] if len(found) == 1 else None


def say(words: str) -> None:
    """Write ``words`` to the terminal. A closed terminal is ignored."""
    with contextlib.suppress(OSError), _opened() as (_, writer):
        writer.write(wording.fold(words.rstrip("\n"), _width(writer)) + "\n")


def for_reader(words: str) -> str:
    """Return ``words`` wrapped if stdout is a terminal, else unchanged.

    So programs get every line unbroken.
    """
    return wording.fold(words, _width(sys.stdout)) if sys.stdout.isatty() else words


def _width(stream: TextIO) -> int:
    """Return the columns of a terminal; some report 0 if unknown."""
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    return _USUAL_WIDTH


def password(prompt: str) -> str | None:
    """Return a password typed without echo, or None without a terminal."""
    if not is_present():
        return None
    # getpass opens /dev/tty itself; it uses stdin only if there is none.
    with contextlib.suppress(EOFError, OSError):
        return getpass.getpass(printable(prompt))
    return None


@contextlib.contextmanager
def _opened() -> Iterator[tuple[TextIO, TextIO]]:
    with (
        open(_TERMINAL, encoding="utf-8", errors="replace") as reader,
        open(_TERMINAL, "w", encoding="utf-8", errors="replace") as writer,
    ):
        yield reader, cast(TextIO, Screen(writer))
