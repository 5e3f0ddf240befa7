"""Who runs on this host, and what that person may do. Never cached."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import Any, Dict

#: Tools are looked up here and nowhere else, so that a caller's PATH cannot
#: put another program in their place.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def gather_session() -> Dict[str, Any]:
    """Return uid, gid, user, home, is_root, sudo and user_manager.

    ``sudo`` is ``root`` (not needed), ``passwordless``, ``password`` (sudo is
    there and would ask) or ``none``. ``user_manager`` tells whether this
    user's systemd manager answers or can be started by lingering.
    """
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
        user, home = entry.pw_name, entry.pw_dir
    except KeyError:
        user, home = str(uid), os.path.expanduser("~")
    sudo = "root" if uid == 0 else _sudo()
    return {
        "uid": uid,
        "gid": os.getgid(),
        "user": user,
        "home": home,
        "is_root": uid == 0,
        "sudo": sudo,
        "user_manager": _has_user_manager(uid, sudo),
    }


def _sudo() -> str:
    sudo = shutil.which("sudo", path=SYSTEM_PATH)
    if sudo is None:
        return "none"
    if _succeeds([sudo, "-n", "true"]):
        return "passwordless"
    # Without -n sudo could ask; "not in the sudoers file" is only said after
    # the password, so that "password" means: it may work, one has to ask.
    return "password"


def _has_user_manager(uid: int, sudo: str) -> bool:
    """Tell whether ``systemctl --user`` works for ``uid``, or will with lingering.

    Lingering needs an administrator where there is no session yet, and
    without pam_systemd a lingering manager has no runtime directory and exits.
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


def _succeeds(argv: Any) -> bool:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
