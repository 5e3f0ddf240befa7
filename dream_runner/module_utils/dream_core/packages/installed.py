"""Find the installed system packages."""

from __future__ import annotations

import os
from typing import FrozenSet, List, Sequence

from ..system import tools
from ..system.filesystems import lines, names_in

#: The query command of each family, and the answer that means installed.
_QUERIES = {
    "debian": (["dpkg-query", "-W", "-f=${db:Status-Status}"], "installed"),
    "redhat": (["rpm", "-q"], ""),
    "suse": (["rpm", "-q"], ""),
    "arch": (["pacman", "-Q"], ""),
    "alpine": (["apk", "info", "-e"], ""),
    "void": (["xbps-query"], ""),
}


def missing_packages(names: Sequence[str], family: str) -> List[str]:
    """Return the packages of ``names`` that are not installed; all if the state is unknown."""
    argv, answer = _QUERIES.get(family, (["false"], ""))
    return [name for name in names if not tools.prints([*argv, name], answer)]


def is_dpkg_interrupted(folder: str = "/var/lib/dpkg") -> bool:
    """Return whether dpkg was interrupted; it then refuses all other work.

    Its journal is empty unless it was killed; the status shows packages that are unpacked but not
    configured.
    """
    if names_in(os.path.join(folder, "updates")):
        return True
    stuck = ("unpacked", "half-configured", "half-installed")
    return any(
        line.startswith("Status: ") and line.split()[-1] in stuck
        for line in lines(os.path.join(folder, "status"))
    )


def installed(names: Sequence[str]) -> FrozenSet[str]:
    """Return the packages that the database of dpkg, rpm, pacman or apk has."""
    for program, query in _PACKAGE_QUERIES.items():
        if tools.path_of(program):
            lines = tools.output([program, *query, *names]).splitlines()
            # dpkg says "name[:arch] installed", the others the bare name.
            words = [line.split() for line in lines if line.strip()]
            return frozenset(
                word[0].split(":")[0] for word in words if word[1:] in ([], ["installed"])
            )
    return frozenset()


#: The command of each package manager that lists the installed ones of the names that follow.
_PACKAGE_QUERIES = {
    "dpkg-query": ["--show", "--showformat=${Package} ${db:Status-Status}\\n"],
    "rpm": ["--query", "--queryformat=%{NAME}\\n"],
    "pacman": ["-Qq"],
    "apk": ["info", "-e"],
}
