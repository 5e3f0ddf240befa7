"""Choose the Debian packages of a bundle that a host lacks, and verify their digests.

A missing package includes its dependencies that the bundle has and that the host lacks or has in an
unsuitable version. apt checks the rest and rejects packages that do not fit together.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ..bundle import contents
from ..errors import IntegrityError, RequirementError
from ..files.hashing import hash_file
from ..layout import SYSTEM_PATH
from ..system import tools

#: ``libc6:any (>= 2.36)``: a name, perhaps an architecture, perhaps an operator and a version.
_RELATION = re.compile(r"^([a-z0-9][a-z0-9.+-]*)(?::\S+)?(?:\s*\(([<>=]+)\s*([^\s)]+)\))?$")
_FIELDS = "${Package}\\t${Pre-Depends}, ${Depends}\\t${Provides}\\n"
_INSTALLED = "${db:Status-Status}\\t${Package}\\t${Version}\\t${Provides}\\n"
_SECONDS = 60

#: Returns whether a version has a relation (``>=`` and so on) to another.
Compare = Callable[[str, str, str], bool]


class Deb(NamedTuple):
    """A package file: its path, and its dependencies as groups of alternatives."""

    path: str
    needs: Sequence[Sequence[Tuple[str, str, str]]]
    provides: Sequence[str]


class Choice(NamedTuple):
    """The files to install together, and the names that the bundle lacks."""

    paths: List[str]
    absent: List[str]


def choose(
    names: Sequence[str], debs: Mapping[str, Deb], installed: Mapping[str, str], compare: Compare
) -> Choice:
    """Return the files for ``names`` and their dependencies; ``installed`` has versions by name.

    A name that another package provides counts as installed with an empty version.
    """
    providers = {other: name for name in sorted(debs) for other in debs[name].provides}
    wanted = [(name, "", "") for name in reversed(names)]
    chosen: Dict[str, str] = {}
    absent: List[str] = []
    while wanted:
        name = wanted.pop()[0]
        real = name if name in debs else providers.get(name, "")
        if not real:
            # apt decides about a dependency that the bundle lacks: a replacement may be installed.
            absent += [name] if name in names else []
        elif real not in chosen:
            chosen[real] = debs[real].path
            wanted += [
                _first(group, debs, providers)
                for group in debs[real].needs
                if not any(_holds(item, installed, compare) for item in group)
            ]
    return Choice(sorted(chosen.values()), sorted(absent))


def _holds(relation: Tuple[str, str, str], installed: Mapping[str, str], compare: Compare) -> bool:
    name, operator, version = relation
    if name not in installed:
        return False
    return not operator or compare(installed[name], operator, version)


def _first(
    group: Sequence[Tuple[str, str, str]], debs: Mapping[str, Deb], providers: Mapping[str, str]
) -> Tuple[str, str, str]:
    """Return the first alternative that the bundle has, else the first."""
    known = [item for item in group if item[0] in debs or item[0] in providers]
    return (known or list(group))[0]


def relations(text: str) -> List[List[Tuple[str, str, str]]]:
    """Return a dependency field as groups of ``(name, operator, version)``."""
    groups = []
    for part in text.split(","):
        found = [_RELATION.match(word.strip()) for word in part.split("|")]
        group = [
            (item.group(1), item.group(2) or "", item.group(3) or "") for item in found if item
        ]
        if group:
            groups.append(group)
    return groups


# --- looking ------------------------------------------------------------------------


def look(directory: str, names: Sequence[str], offline: bool) -> Dict[str, Any]:
    """Return ``{paths, absent}`` for ``names`` from the bundle in ``directory``.

    Writes nothing. Raises IntegrityError BUNDLE_BROKEN if a file is damaged and, with ``offline``,
    RequirementError OFFLINE_ARTEFACT_MISSING if the bundle lacks one of ``names``.
    """
    chosen = Choice([], sorted(names))
    if directory and names:
        sums = contents.inspect(directory).sums
        files = {os.path.join(directory, name): sums[name] for name in sums if _is_deb(name)}
        # Verify before dpkg-deb reads a file: not even the package name in a changed file is
        # trusted.
        for path, sha256 in files.items():
            _prove(path, sha256)
        chosen = choose(names, _read(sorted(files)), installed_versions(), _compare)
    if offline and chosen.absent:
        raise RequirementError(
            "offline, but these system packages are missing: %s" % ", ".join(chosen.absent),
            code="OFFLINE_ARTEFACT_MISSING",
            hint="create the bundle on the same Debian release as this host, or install the "
            "packages by hand",
        )
    return chosen._asdict()


def names(directory: str) -> List[str]:
    """Return the packages that the bundle in ``directory`` lists; none for "".

    Only the file names are used; ``look`` reads and verifies the files. Raises IntegrityError
    BUNDLE_BROKEN.
    """
    sums = contents.inspect(directory).sums if directory else {}
    return sorted(os.path.basename(name).partition("_")[0] for name in sums if _is_deb(name))


def _is_deb(name: str) -> bool:
    return name.startswith("debs/") and name.endswith(".deb") and name.count("/") == 1


def _read(paths: Sequence[str]) -> Dict[str, Deb]:
    found = {}
    for path in paths:
        said = _output("dpkg-deb", "--show", "--showformat=" + _FIELDS, path)
        for name, needs, provides in _rows(said, 3):
            found[name] = Deb(path, relations(needs), _names(provides))
    return found


def installed_versions() -> Dict[str, str]:
    """Return the versions of this host's packages, and "" for the names that they provide."""
    found: Dict[str, str] = {}
    for status, name, version, provides in _rows(
        _output("dpkg-query", "--show", "--showformat=" + _INSTALLED), 4
    ):
        if status == "installed":
            found[name] = version
            for other in _names(provides):
                found.setdefault(other, "")
    return found


def _names(provides: str) -> List[str]:
    return [item[0] for group in relations(provides) for item in group]


def _rows(said: str, count: int) -> List[List[str]]:
    rows = (line.split("\t") for line in said.splitlines())
    return [row for row in rows if len(row) == count]


def _compare(one: str, operator: str, other: str) -> bool:
    command = ["dpkg", "--compare-versions", one, operator, other]
    return tools.run(command, _SECONDS, environment=_environment()).status == 0


def _output(*command: str) -> str:
    """Return the output of a dpkg program; its complete rows are used despite its exit code."""
    return tools.run(command, _SECONDS, environment=_environment()).output


def _environment() -> Dict[str, str]:
    return {"PATH": SYSTEM_PATH, "LC_ALL": "C"}


def _prove(path: str, sha256: str) -> None:
    if hash_file(path) != sha256:
        raise IntegrityError(
            "the bundle is damaged: %s differs" % os.path.basename(path),
            code="BUNDLE_BROKEN",
            where=path,
            hint="copy it again from its source; 'sha256sum -c SHA256SUMS' in its directory "
            "verifies it",
        )
