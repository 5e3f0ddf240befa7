"""The tree of an earlier version, from the history of this repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from images import archive, containers, docker_registry
from nodes.node import CHECKOUT, Node

from . import stack

#: The last version whose profile was named ``embedded`` and whose directory was ``~/dream-runner``.
COMMIT = "86c7d76c3a578c82362e919f0887951588e1958e"


def tree(folder: Path) -> Path:
    """Write the tree of ``COMMIT`` into ``folder``; a clone without it skips the test."""
    named = f"{COMMIT}^{{commit}}"
    if subprocess.run(["git", "cat-file", "-e", named], cwd=CHECKOUT, check=False).returncode:
        pytest.skip("this clone has no history; git fetch --unshallow")
    packed = subprocess.run(
        ["git", "archive", COMMIT], cwd=CHECKOUT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    return folder


def replace_checkout(machine: Node) -> None:
    """Replace the earlier tree with today's, as its user does with git."""
    machine.must("rm", "-rf", machine.checkout)
    machine.copy_checkout()


def secrets(machine: Node, root: str) -> dict[str, str]:
    """Return the lines of ``.env`` whose value was generated."""
    lines = machine.must("cat", f"{root}/.env").out.splitlines()
    return {
        key: value
        for key, found, value in (line.partition("=") for line in lines)
        if found and stack.is_random(value)
    }


def identity(machine: Node, path: str) -> str:
    """Return inode, size and time of a file: a file that was downloaded again has others."""
    return machine.must("stat", "--format=%i %s %Y", path).out.strip()


def images(former: Path) -> tuple[dict[str, archive.Image], dict[str, dict[str, Any]]]:
    """Return the images that the earlier version is tested with, and its lock."""
    services = yaml.safe_load((former / "dream_runner/catalog/services.yml").read_text())
    items = [item for item in services["services"] if "image" in item]
    ports = {port["container"] for item in items for port in item.get("ports", ())}
    ports |= {port for item in items for port in item.get("internal_ports", ())}
    stub = containers.web_stub(tuple(sorted(ports)))
    engine = containers.llama_server()
    lock = {
        item["image"]: stack.entry("former-engine", engine)
        if item["id"] == "llama-server"
        else stack.entry("former-stub", stub)
        for item in items
    }
    return {"former-engine": engine, "former-stub": stub}, lock


def prepare(machine: Node, former: Path, models: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Give ``machine`` the earlier checkout with its sources; return today's lock for later."""
    machine.copy_tree(former, machine.checkout)
    stack.serve_files(machine, models)
    old, lock = images(former)
    today = stack.images()
    tags = {f"{name}:1": image for name, image in old.items()}
    tags |= {f"{name}:{stack.tag(name)}": image for name, image in today.items()}
    docker_registry.serve(machine, tags, stack.REGISTRY_PORT)
    stack.write_lock(machine, lock)
    return stack.lock_of(today)
