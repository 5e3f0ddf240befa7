"""Questions to the person at the controlling terminal, wherever stdin comes from.

``/dev/tty`` is asked rather than stdin, so that a question works in a script
that is piped into a shell. Where there is no terminal, or this process is in its
background, nothing is ever asked (catalogue row C3).
"""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator, Sequence
from typing import TextIO

_TERMINAL = "/dev/tty"
#: A person who does not get it three times is not at this terminal.
_ATTEMPTS = 3
#: What people type although one letter is offered.
_LONG = {"y": "yes", "n": "no"}


def is_present() -> bool:
    """Tell whether a person can be asked."""
    try:
        handle = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A background process that reads its terminal is stopped by the kernel.
        return os.tcgetpgrp(handle) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(handle)


def ask(question: str, answers: Sequence[str], default: str) -> str | None:
    """Return one of ``answers``, or None when nobody can or will answer.

    Any unambiguous beginning of an answer counts; the empty line is ``default``.
    """
    if not is_present():
        return None
    choices = "/".join(word.upper()[0] + word[1:] if word == default else word for word in answers)
    with _opened() as (reader, writer):
        for _ in range(_ATTEMPTS):
            writer.write(f"{question} [{choices}] ")
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


def _match(text: str, answers: Sequence[str], default: str) -> str | None:
    if not text:
        return default
    found = [word for word in answers if word.startswith(text) or text == _LONG.get(word)]
    return found[0] if len(found) == 1 else None


def say(text: str) -> None:
    """Write ``text`` to the terminal, between two questions."""
    with _opened() as (_, writer):
        writer.write(text.rstrip("\n") + "\n")


def password(prompt: str) -> str | None:
    """Return a password typed without echo, or None when nobody can be asked."""
    if not is_present():
        return None
    # getpass opens /dev/tty itself and falls back to stdin only where there is none.
    with contextlib.suppress(EOFError):
        return getpass.getpass(prompt)
    return None


@contextlib.contextmanager
def _opened() -> Iterator[tuple[TextIO, TextIO]]:
    with (
        open(_TERMINAL, encoding="utf-8", errors="replace") as reader,
        open(_TERMINAL, "w", encoding="utf-8", errors="replace") as writer,
    ):
        yield reader, writer
