"""Run a system tool to its end, and read its output."""

from __future__ import annotations

import shutil
import subprocess
from typing import Mapping, NamedTuple, Optional, Sequence

from ..layout import SYSTEM_PATH

#: The exceptions of ``run`` if a tool cannot be started or does not finish in time.
NOT_RUN = (OSError, subprocess.TimeoutExpired)


class Ended(NamedTuple):
    """The result of a tool: its exit status, and the text of both streams."""

    status: int
    output: str
    errors: str


def path_of(name: str) -> str:
    """Return the path of a tool in the system's directories; empty if it is not installed."""
    return shutil.which(name, path=SYSTEM_PATH) or ""


def run(
    argv: Sequence[str],
    seconds: float = 60.0,
    *,
    environment: Optional[Mapping[str, str]] = None,
    content: bytes = b"",
    joined: bool = False,
    in_own_session: bool = False,
) -> Ended:
    """Run ``argv`` to its end with ``content`` as its input; return the result.

    ``environment`` replaces that of this process. ``joined`` merges the errors into the output, in
    their order. Raises the exceptions of ``NOT_RUN``.
    """
    done = subprocess.run(
        argv,
        input=content,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if joined else subprocess.PIPE,
        env=environment,
        timeout=seconds,
        start_new_session=in_own_session,
        check=False,
    )
    return Ended(
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        (done.stderr or b"").decode("utf-8", "replace"),
    )


def prints(argv: Sequence[str], answer: str) -> bool:
    """Return whether a program prints ``answer`` or, without ``answer``, whether it succeeds."""
    try:
        done = run(argv)
    except NOT_RUN:
        return False
    return done.output.strip() == answer if answer else done.status == 0


def output(argv: Sequence[str]) -> str:
    """Return the output of a program, whatever its exit code is."""
    program = path_of(argv[0])
    return run([program, *argv[1:]], 10).output if program else ""
