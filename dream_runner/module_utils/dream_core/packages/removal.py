"""Remove the system packages that an install brought, without removing others.

A simulation by apt shows what would be removed: our packages and their own dependencies. An
installed package stays if its removal would remove a package that the user installed.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import List, NamedTuple, Sequence

from ..layout import SYSTEM_PATH
from ..system import tools
from ..system.account import ask_sudo
from . import installed

_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.M)
_SECONDS = 300


class Removal(NamedTuple):
    """The packages to remove together, or ``why`` they stay; ``command`` removes them by hand."""

    names: List[str]
    why: str = ""
    command: str = ""


def plan(names: Sequence[str]) -> Removal:
    """Return what a removal of the packages ``names`` would remove; changes nothing."""
    if not tools.path_of("apt-get"):
        return Removal([], "remove it with the package manager of this host")
    try:
        together = _simulated("purge", "--auto-remove", *names)
        # Packages that were unused before the install are not removed.
        idle = _simulated("autoremove")
        brought = set(names) | set(_output("apt-mark", "showauto").split())
    except (OSError, subprocess.SubprocessError, Refused) as error:
        return Removal([], str(error))
    going = [name for name in together if name in names or name not in idle]
    others = sorted(set(going) - brought)
    if others:
        return Removal([], "needed by %s" % ", ".join(others))
    command = "apt-get purge %s" % " ".join(going)
    if os.geteuid() and not _sudo():
        return Removal([], "requires root: sudo %s" % command)
    return Removal(going, "", command)


class Refused(Exception):
    """The package manager refused; the message is its output."""


def remove(removal: Removal) -> None:
    """Remove the packages of a plan. Raises Refused, OSError or SubprocessError."""
    if installed.is_dpkg_interrupted():
        # After a kill dpkg refuses all other work until this is done.
        _as_root("dpkg", "--configure", "-a", "--force-confold")
    _as_root("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "purge", *removal.names)


def _as_root(*command: str) -> None:
    _output(*([*_sudo(), *command] if os.geteuid() else command))


def _sudo() -> List[str]:
    """Return the command to become root without a password; empty if that is not possible."""
    sudo = tools.path_of("sudo")
    if not sudo:
        return []
    # Test sudo as Ansible's workers use it: the plan runs at a terminal, the removal without one.
    return [sudo, "-n"] if ask_sudo([sudo, "-k", "-n", "true"])[0] == 0 else []


def _simulated(*words: str) -> List[str]:
    return _REMOVED.findall(_output("apt-get", "-q", "-y", "--simulate", *words))


def _output(*argv: str) -> str:
    program = tools.path_of(argv[0]) or argv[0]
    environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = tools.run([program, *argv[1:]], _SECONDS, environment=environment)
    if done.status != 0:
        said = done.errors.strip().splitlines()
        raise Refused(said[-1] if said else "%s failed with status %d" % (argv[0], done.status))
    return done.output
