"""A whole machine before and after: every file, every package, and what may differ."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nodes.node import Node

#: What differs all the same, and why. Anything else fails the test.
EXCEPTIONS = {
    r"(/root|/home/\w+)/dream-runner-source(/.*)?": "the checkout that the test copied in",
    r"(/root|/home/\w+)/\.local(/(bin|share|state))?": "base directories that all programs share",
    r"(/root|/home/\w+)/\.cache(/.*)?": "caches of pip",
    r"(/root|/home/\w+)/\.config(/systemd(/user)?)?": "base directories that all programs share",
    r"/var/lib/apt/(lists|extended_states|periodic)(/.*)?": "the package manager's own state",
    r"/var/lib/dpkg/(status|available|lock|diversions|triggers|info|alternatives)(-old|/.*)?": (
        "the package manager's own state; which packages are installed is compared by itself"
    ),
    r"/var/cache/(apt|debconf|ldconfig|man)(/.*)?": "caches of the package manager and the linker",
    r"/etc/ld\.so\.cache": "cache of the linker, made anew whenever a library comes or goes",
    r"/var/log/(apt|journal|dpkg\.log|alternatives\.log|lastlog|wtmp|btmp)(/.*|\b.*)?": "logs",
    r"/var/(lib/systemd|tmp|cache|log|lib)(/.*)?": "systemd's own state",
    r"/(run|tmp)(/.*)?": "what does not outlive a boot",
}
#: Packages of Debian that install.sh itself needs before dream-runner exists.
BOOTSTRAP = re.compile(r"python3(\.\d+)?-(venv|pip-whl|setuptools-whl|distutils|lib2to3)")


def packages(machine: Node) -> set[str]:
    shown = r"--showformat=${Package} ${Version} ${db:Status-Status}\n"
    return set(machine.must("dpkg-query", "--show", shown).out.splitlines())


def files(machine: Node) -> dict[str, str]:
    """Return the listing without times: a directory in which something came and went differs."""
    return {
        path: " ".join(field for n, field in enumerate(what.split(" ")) if n not in (4, 5))
        if not what.startswith("d")
        else " ".join(what.split(" ")[:3])
        for path, what in machine.listing().items()
    }


def unexplained(
    before: dict[str, str], after: dict[str, str], more: Mapping[str, str] | None = None
) -> list[str]:
    """Return what differs without a reason; ``more`` are further exceptions, named as the above."""
    allowed = {**EXCEPTIONS, **(more or {})}
    different = [n for n in before.keys() | after.keys() if before.get(n) != after.get(n)]
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in sorted(different)
        if not any(re.fullmatch(pattern, name) for pattern in allowed)
    ]


def owner_of(path: str) -> str:
    """Return the source of byte code, and any other path as it is."""
    source = re.sub(r"/__pycache__(/([^/]+)\.cpython-\d+\.pyc)?$", r"/\2.py", path)
    return source.removesuffix("/.py")


def check_as_before(machine: Node, before: dict[str, str], packages_before: set[str]) -> None:
    """Compare a machine after a purge with ``files`` and ``packages`` before the install."""
    changed = {line.split()[0] for line in packages(machine) ^ packages_before}
    bootstrap = {name for name in changed if BOOTSTRAP.fullmatch(name)}
    assert changed - bootstrap == set()
    theirs = set(machine.must("dpkg-query", "--listfiles", *bootstrap).out.splitlines())
    found = unexplained(before, files(machine))
    assert [line for line in found if owner_of(line.partition(":")[0]) not in theirs] == []
