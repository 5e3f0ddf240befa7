"""Nodes that outlive the process that made them, for tools of many steps such as molecule.

All share one podman, in a directory with a fixed name; the last node to go takes it down. A node
belongs to a process, if it was named: whoever comes next removes the nodes of a dead one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from images import cache

from . import node
from .podman import Podman, is_alive

PLACE = Path(tempfile.gettempdir()) / "dream-runner-lasting-nodes"
PREFIX = "dream-lasting-"


@contextlib.contextmanager
def lasting() -> Iterator[Podman]:
    """The shared podman, for one process at a time; gone when no node is left at the end."""
    cache.directory().mkdir(parents=True, exist_ok=True)
    with (cache.directory() / "nodes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        PLACE.mkdir(exist_ok=True)
        podman = Podman(PLACE)
        try:
            for name, owner in nodes():
                if owner and not is_alive(owner):
                    _remove(podman, name)
            yield podman
        finally:
            if not nodes():
                podman.close()


def nodes() -> list[tuple[str, int]]:
    """Return the names of all lasting nodes with the process each belongs to; 0 is nobody."""
    names = PLACE / "nodes"
    if not names.exists():
        return []
    rows = [line.split() for line in names.read_text().splitlines()]
    return [(name, int(owner)) for name, owner in rows]


def create(
    name: str, release: str, *, kind: str, engine: bool, key: str, user: str, owner: int
) -> str:
    """Start the node and let ``key`` log in as ``user``; return its address."""
    with lasting() as podman:
        whole = PREFIX + name
        _remove(podman, whole)
        _write([*nodes(), (whole, owner)])
        try:
            machine = node.start(podman, whole, release, kind=kind, engine=engine, user=user)
            script = "umask 077; mkdir -p ~/.ssh && cat > ~/.ssh/authorized_keys"
            machine.must("sh", "-c", script, input=key)
            # What the container was started with does not reach a login over ssh by itself.
            passed = "".join(f"{name}={value}\n" for name, value in node.environment().items())
            machine.must("sh", "-c", "cat >> /etc/environment", input=passed, user="root")
            return machine.address
        except BaseException:
            _remove(podman, whole)
            raise


def copy(name: str, source: Path, target: str) -> None:
    """Copy a directory into the node, as root: an ssh of many files takes minutes."""
    with lasting() as podman:
        node.Node(PREFIX + name, podman, "root").copy_tree(source, target)


def remove(name: str) -> None:
    """Remove the node; nothing to do is fine."""
    with lasting() as podman:
        _remove(podman, PREFIX + name)


def _remove(podman: Podman, name: str) -> None:
    if name in dict(nodes()):
        node.remove(podman, name)
        _write([row for row in nodes() if row[0] != name])


def _write(rows: list[tuple[str, int]]) -> None:
    (PLACE / "nodes").write_text("".join(f"{name} {owner}\n" for name, owner in rows))


def remove_all() -> None:
    """Remove every lasting node, whoever it belongs to."""
    with lasting() as podman:
        for name, _ in nodes():
            _remove(podman, name)
    shutil.rmtree(PLACE, ignore_errors=True)


def owner_from_environment() -> int:
    """Return the process that nodes belong to, as a test session says it."""
    return int(os.environ.get("DREAM_NODE_OWNER", "0"))
