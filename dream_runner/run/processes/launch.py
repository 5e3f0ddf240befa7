"""Start ansible-playbook so that it ends with the wrapper and leaks no secret.

Runs as ``python -m dream_runner.run.processes.launch`` below ansible-runner, reads one JSON
object from standard input and executes the program in it. Environment and become password
are passed through that pipe because ansible-runner writes the environment and command line
of its child to a file.
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

#: prctl(2): signal that this process gets when its parent thread ends.
_PR_SET_PDEATHSIG = 1

#: In the order of Ansible's prompts.
_QUESTIONS = (("--ask-pass", "connection"), ("--ask-become-pass", "become"))


@dataclass(frozen=True)
class Passwords:
    """The passwords for the connection and for sudo. None: Ansible does not ask."""

    connection: str | None = field(default=None, repr=False)
    become: str | None = field(default=None, repr=False)


def main() -> None:
    """Bind to the parent, then execute the program that standard input names."""
    request = json.load(sys.stdin)
    tighten_umask()
    # A new session, so that signals of the user's terminal reach only the wrapper.
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
    # The parent may have ended before the call took effect.
    if os.getppid() != parent:
        sys.exit(1)


def _replace_stdin(passwords: list[str]) -> None:
    """Replace standard input with a pipe that has one line per password, or is empty.

    Without a terminal, Ansible reads passwords from standard input, so they are never in a file
    or an argument.
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
    """Return the bytes that ``main`` reads from standard input."""
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
