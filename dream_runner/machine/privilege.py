"""Get root privileges: already there, with a sudo password, or an error with a way to get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..module_utils.dream_core.errors import PrivilegeError
from ..module_utils.dream_core.system.account import ask_sudo, sudo_refusal
from ..module_utils.dream_core.types.host import Session

#: Same as in sudo.
_ATTEMPTS = 3
#: Prefix of an action, shortened in the prompt.
_INSTALL = "install packages: "

#: Asks for a password; returns None without a terminal.
Ask = Callable[[str], str | None]


def require_possible_root(
    actions: Sequence[str],
    commands: Sequence[str],
    session: Session,
    *,
    may_ask: bool,
) -> None:
    """Raise PrivilegeError if ``actions`` need root and no password can provide it.

    ``commands`` do all ``actions`` by hand, if that is possible. Call this before the first
    question, so that the user is not asked in vain.
    """
    if not _needs_password(actions, session):
        return
    if session["sudo"] == "none":
        raise _needed(actions, commands, session.get("sudo_why") or "sudo is not installed")
    if not may_ask:
        raise _needed(actions, commands, "sudo needs a password, and this run does not ask for it")


def become_password(
    actions: Sequence[str],
    commands: Sequence[str],
    session: Session,
    ask: Ask,
    say: Callable[[str], None],
) -> str | None:
    """Return the sudo password, or None if none is needed.

    The password is passed from the terminal to ansible-playbook through a pipe, never in an
    argument, the environment, a file or a log.
    """
    if not _needs_password(actions, session):
        return None
    require_possible_root(actions, commands, session, may_ask=True)
    if commands:
        say(f"No sudo? As root run '{' && '.join(commands)}' once; the rest needs no root.")
    prompt = f"[sudo] password for {session['user']} (needed to {_purpose(actions)}): "
    for _ in range(_ATTEMPTS):
        password = ask(prompt)
        if password is None:
            raise _needed(actions, commands, "sudo needs a password, and there is no terminal")
        status, output = ask_sudo(["sudo", "-k", "-S", "-p", "", "/bin/sh", "-c", ":"], password)
        if status == 0:
            return password
        why = sudo_refusal(output)
        if why:
            raise _needed(actions, commands, why)
        prompt = "sudo did not accept the password, try again: "
    raise PrivilegeError(
        "sudo refused the password three times",
        code="SUDO_REFUSED",
        hint=_way(commands) or "check that this user may use sudo ('sudo -l'), then run this again",
    )


def _needs_password(actions: Sequence[str], session: Session) -> bool:
    return bool(actions) and not session["is_root"] and session["sudo"] != "passwordless"


def _purpose(actions: Sequence[str]) -> str:
    return "; ".join(action.replace(_INSTALL, "install ") for action in actions)


def _way(commands: Sequence[str]) -> str:
    return f"as root run '{' && '.join(commands)}' once; the rest needs no root" if commands else ""


def _needed(actions: Sequence[str], commands: Sequence[str], why: str) -> PrivilegeError:
    otherwise = "run the same command in a terminal, as root, or as a user with passwordless sudo"
    return PrivilegeError(
        f"root is needed to {_purpose(actions)}, but {why}",
        code="SUDO_NEEDED",
        hint=_way(commands) or otherwise,
    )
