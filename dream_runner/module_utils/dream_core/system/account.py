"""The current account and its rights on this host. Never cached."""

from __future__ import annotations

import os
import pwd
import re
from typing import Any, List, Optional, Tuple

from ..types.host import Session
from . import ip_addresses, tools

#: Seconds to wait for sudo: a wrong password takes two, a directory server more.
_SUDO_SECONDS = 30
#: The command that Ansible runs to become root; a rule that allows ``true`` may forbid a shell.
_BECOME = ("-k", "-n", "/bin/sh", "-c", ":")
#: Messages of sudo for which no password helps, with the reasons to show.
_REFUSALS = (
    (re.compile(r"must have a tty"), "sudo requires a terminal for every command (requiretty)"),
    (re.compile(r"not in the sudoers"), "this user is not in the sudoers file"),
    (re.compile(r"not allowed to|may not run"), "sudo does not allow this user to run everything"),
)


def gather_session() -> Session:
    """Return uid, gid, user, home, is_root, sudo, sudo_why, user_manager and loopbacks.

    ``sudo`` is ``root`` (not needed), ``passwordless``, ``password`` (sudo asks for one) or
    ``none``; ``sudo_why`` is the reason for ``none``. ``user_manager`` is true if this user's
    systemd manager answers or can be started by lingering. ``loopbacks`` are those of 127.0.0.1 and
    ::1 that this host has.
    """
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
        user, home = entry.pw_name, entry.pw_dir
    except KeyError:
        user, home = str(uid), os.path.expanduser("~")
    sudo, why = ("root", "") if uid == 0 else _sudo()
    return {
        "uid": uid,
        "gid": os.getgid(),
        "user": user,
        "home": home,
        "is_root": uid == 0,
        "sudo": sudo,
        "sudo_why": why,
        "user_manager": _has_user_manager(uid, sudo),
        "loopbacks": ip_addresses.loopbacks(),
    }


def _sudo() -> Tuple[str, str]:
    sudo = tools.path_of("sudo")
    if not sudo:
        return "none", "sudo is not installed"
    status, output = ask_sudo([sudo, *_BECOME])
    if status == 0:
        return "passwordless", ""
    why = sudo_refusal(output)
    # Without -n sudo could ask for the password. It usually reports "not in the sudoers file" only
    # after the password, so "password" means that it may work.
    return ("none", why) if why else ("password", "")


def ask_sudo(argv: List[str], typed: Optional[str] = None) -> Tuple[int, str]:
    """Run a sudo command as Ansible does; return its status and output.

    Ansible's workers have their own session without a terminal, where sudo does not use a password
    that it remembers for the caller's terminal. This command therefore also runs in a new session,
    and ``argv`` has ``-k``. Status -1: sudo could not be run, or did not answer.
    """
    try:
        done = tools.run(
            argv,
            _SUDO_SECONDS,
            environment={**os.environ, "LC_ALL": "C"},
            content=b"" if typed is None else (typed + "\n").encode("utf-8", "replace"),
            joined=True,
            in_own_session=True,
        )
    except tools.NOT_RUN:
        return -1, ""
    return done.status, done.output


def sudo_refusal(output: str) -> str:
    """Return from sudo's output why no password helps; empty if one may help."""
    return next((why for pattern, why in _REFUSALS if pattern.search(output)), "")


def _has_user_manager(uid: int, sudo: str) -> bool:
    """Return whether ``systemctl --user`` works for ``uid``, or would with lingering.

    Without a session, lingering needs an administrator; without pam_systemd, a lingering manager
    has no runtime directory and exits.
    """
    if uid == 0 or not os.path.isdir("/run/systemd/system"):
        return False
    if os.path.exists("/run/user/%d/systemd/private" % uid):
        return True
    return sudo != "none" and any(
        os.path.exists(os.path.join(directory, "security", "pam_systemd.so"))
        for directory in _library_directories()
    )


def _library_directories() -> Any:
    for root in ("/lib", "/usr/lib", "/lib64", "/usr/lib64"):
        yield root
        yield os.path.join(root, "%s-linux-gnu" % os.uname().machine)
