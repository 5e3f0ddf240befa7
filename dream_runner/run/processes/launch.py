"""Start ansible-playbook so that it ends with the wrapper and leaks no secret.

Runs as ``python -m dream_runner.run.processes.launch`` below ansible-runner, reads one JSON
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
from dataclasses import dataclass, field
from typing import Any

from ...module_utils.dream_core.system.umask import tighten_umask

#: prctl(2): signal to this process when the thread that made it ends.
_PR_SET_PDEATHSIG = 1

#: In the order in which Ansible asks.
_QUESTIONS = (("--ask-pass", "connection"), ("--ask-become-pass", "become"))


@dataclass(frozen=True)
class Passwords:
    """What Ansible asks for: of the connection, and for becoming root. None is not asked for."""

    connection: str | None = field(default=None, repr=False)
    become: str | None = field(default=None, repr=False)


def main() -> None:
    """Bind to the parent, then become the program that standard input names."""
    request = json.load(sys.stdin)
    tighten_umask()
    # A session of its own: signals of the user's terminal go to the wrapper alone.
    os.setsid()
    _die_with_parent(request["parent"])
    argv = list(request["argv"])
    passwords = []
    for flag, name in _QUESTIONS:
        if request.get(name):
            argv.append(flag)
            passwords.append(request[name])
    _replace_stdin(passwords)
    os.execve(argv[0], argv, request["environment"])  # noqa: S606 - no shell is wanted


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the call took effect.
    if os.getppid() != parent:
        sys.exit(1)


def _replace_stdin(passwords: list[str]) -> None:
    """Make standard input a pipe with a line for each of ``passwords``, or nothing at all.

    Without a terminal Ansible's question for a password reads standard
    input, so that it never stands in a file or an argument.
    """
    if passwords:
        reader, writer = os.pipe()
        os.write(writer, "".join(f"{password}\n" for password in passwords).encode())
        os.close(writer)
    else:
        reader = os.open(os.devnull, os.O_RDONLY)
    os.dup2(reader, 0)
    os.close(reader)


def encode(
    argv: list[str], environment: dict[str, str], parent: int, passwords: Passwords
) -> bytes:
    """Return what ``main`` reads from standard input."""
    request: dict[str, Any] = {
        "argv": argv,
        "environment": environment,
        "parent": parent,
        "connection": passwords.connection,
        "become": passwords.become,
    }
    return json.dumps(request).encode()


if __name__ == "__main__":
    main()
