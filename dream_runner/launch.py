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
    os.setpgid(0, 0)
    _die_with_parent(request["parent"])
    environment = dict(request["environment"])
    if request.get("become_password"):
        environment["ANSIBLE_BECOME_PASSWORD_FILE"] = _password_file(request["become_password"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.execve(request["argv"][0], request["argv"], environment)  # noqa: S606 - no shell is wanted


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the call took effect.
    if os.getppid() != parent:
        sys.exit(1)


def _password_file(password: str) -> str:
    """Return the path of an unnamed file in memory that holds ``password``."""
    handle = os.memfd_create("become", 0)
    # Ansible would run an executable password file instead of reading it.
    os.fchmod(handle, 0o600)
    os.write(handle, password.encode())
    os.set_inheritable(handle, True)
    return f"/proc/{os.getpid()}/fd/{handle}"


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
