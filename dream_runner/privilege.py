"""The right to act as root: had, asked for, or missing with the way to get it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .module_utils.dream_core.errors import PrivilegeError

#: sudo itself gives up after three.
_ATTEMPTS = 3


def become_password(
    actions: Sequence[str],
    commands: Sequence[str],
    session: Mapping[str, Any],
    ask: Callable[[str], str | None],
) -> str | None:
    """Return the sudo password, or None where none is needed.

    ``commands`` do all the ``actions`` by hand, if that is possible.

    The password goes from the terminal to ansible-playbook through a pipe:
    never into an argument, the environment, a file or a log.
    """
    if not actions or session["is_root"] or session["sudo"] == "passwordless":
        return None
    if session["sudo"] == "none":
        raise _needed(actions, commands, "there is no sudo")
    prompt = f"[sudo] password for {session['user']} (needed to: {'; '.join(actions)}): "
    for _ in range(_ATTEMPTS):
        password = ask(prompt)
        if password is None:
            raise _needed(actions, commands, "sudo asks for a password, and nobody is here")
        if _is_right(password):
            return password
        prompt = "Sorry, sudo refused it. Password: "
    raise PrivilegeError(
        "sudo refused the password three times",
        code="SUDO_REFUSED",
        hint="check that this user may use sudo ('sudo -l'), then run again",
    )


def _needed(actions: Sequence[str], commands: Sequence[str], why: str) -> PrivilegeError:
    hint = "run the same command in a terminal, as root, or as a user whose sudo does not ask"
    if commands:
        hint = f"as root run '{' && '.join(commands)}' once; the rest needs no root"
    return PrivilegeError(
        f"root is needed to {'; '.join(actions)}, but {why}", code="SUDO_NEEDED", hint=hint
    )


def _is_right(password: str) -> bool:
    """Ask sudo itself; ``-k`` neither uses nor renews a remembered password."""
    try:
        done = subprocess.run(
            ["sudo", "-k", "-S", "-p", "", "true"],
            input=password + "\n",
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
