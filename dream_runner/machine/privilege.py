"""The right to act as root: present, asked for, or missing with the way to get it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..module_utils.dream_core.errors import PrivilegeError
from ..module_utils.dream_core.system.account import ask_sudo, sudo_refusal
from ..module_utils.dream_core.types.host import Session

#: sudo itself gives up after three.
_ATTEMPTS = 3
#: sudo's own words for a plan's action, to be short in a prompt.
_INSTALL = "install packages: "

#: Asks for a password; None where no person can be asked.
Ask = Callable[[str], str | None]


def refuse_hopeless(
    actions: Sequence[str],
    commands: Sequence[str],
    session: Session,
    *,
    may_ask: bool,
) -> None:
    """Raise PrivilegeError where ``actions`` need root and no answer could give it.

    ``commands`` do all the ``actions`` by hand, if that is possible. To be called before the
    first question: a person who cannot go on is told so at once.
    """
    if not _needs_password(actions, session):
        return
    if session["sudo"] == "none":
        raise _needed(actions, commands, session.get("sudo_why") or "there is no sudo")
    if not may_ask:
        raise _needed(actions, commands, "sudo needs a password, and this run does not ask")


def become_password(
    actions: Sequence[str],
    commands: Sequence[str],
    session: Session,
    ask: Ask,
    say: Callable[[str], None],
) -> str | None:
    """Return the sudo password, or None where none is needed.

    The password goes from the terminal to ansible-playbook through a pipe:
    never into an argument, the environment, a file or a log.
    """
    if not _needs_password(actions, session):
        return None
    refuse_hopeless(actions, commands, session, may_ask=True)
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
        prompt = "Sorry, sudo did not accept it. Password: "
    raise PrivilegeError(
        "sudo refused the password three times",
        code="SUDO_REFUSED",
        hint=_way(commands) or "check that this user may use sudo ('sudo -l'), then run again",
    )


def _needs_password(actions: Sequence[str], session: Session) -> bool:
    return bool(actions) and not session["is_root"] and session["sudo"] != "passwordless"


def _purpose(actions: Sequence[str]) -> str:
    return "; ".join(action.replace(_INSTALL, "install ") for action in actions)


def _way(commands: Sequence[str]) -> str:
    return f"as root run '{' && '.join(commands)}' once; the rest needs no root" if commands else ""


def _needed(actions: Sequence[str], commands: Sequence[str], why: str) -> PrivilegeError:
    otherwise = "run the same command in a terminal, as root, or as a user whose sudo does not ask"
    return PrivilegeError(
        f"root is needed to {_purpose(actions)}, but {why}",
        code="SUDO_NEEDED",
        hint=_way(commands) or otherwise,
    )
