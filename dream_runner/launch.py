"""Start ansible-playbook so that it ends with the wrapper and leaks no secret.

Runs as ``python -m dream_runner.launch`` below ansible-runner, reads one JSON
object from standard input and becomes the program in it. Environment and
become password arrive through that pipe because ansible-runner writes the
environment and the command line of what it starts to a file.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

#: prctl(2): signal to this process when the thread that made it ends.
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind to the parent, then become the program that standard input names."""
    request = json.load(sys.stdin)
    # A session of its own: signals of the user's terminal go to the wrapper alone.
    os.setsid()
    _die_with_parent(request["parent"])
    argv = list(request["argv"])
    password = request.get("become_password")
    if password:
        argv.append("--ask-become-pass")
    _replace_stdin(password)
    os.execve(argv[0], argv, request["environment"])  # noqa: S606 - no shell is wanted


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the call took effect.
    if os.getppid() != parent:
        sys.exit(1)


def _replace_stdin(password: str | None) -> None:
    """Make standard input a pipe with ``password``, or nothing at all.

    Without a terminal Ansible's question for the password reads standard
    input, so that it never stands in a file or an argument.
    """
    if password:
        reader, writer = os.pipe()
        os.write(writer, password.encode() + b"\n")
        os.close(writer)
    else:
        reader = os.open(os.devnull, os.O_RDONLY)
    os.dup2(reader, 0)
    os.close(reader)


def encode(
    argv: list[str], environment: dict[str, str], parent: int, become_password: str | None
) -> bytes:
    """Return what ``main`` reads from standard input."""
    request: dict[str, Any] = {
        "argv": argv,
        "environment": environment,
        "parent": parent,
        "become_password": become_password,
    }
    return json.dumps(request).encode()


if __name__ == "__main__":
    main()
