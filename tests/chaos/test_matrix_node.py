"""The rows of the interruption matrix that need a machine of their own (chaos.md).

A bare node without an engine: packages and the engine come from Debian, images from a registry
in the node.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

import pytest
from nodes.node import node as started_node
from nodes.podman import Podman

from . import cases, victims
from .machine import Machine, succeeded
from .origin import SIZE
from .test_kill import starts

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1800)]

#: How often a run is killed in the same step before one may finish.
TIMES = 3
TOOLS = ("ripgrep", "jq", "tree")


@pytest.fixture(scope="module")
def bare(
    podman: Podman, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A node that has nothing but the wrapper's environment."""
    model = tmp_path_factory.mktemp("bare") / "model.gguf"
    model.write_bytes(content)
    with started_node(podman, "13", engine=True) as node:
        machine = Machine(node, model, SIZE // 3)
        first = machine.start(*options(machine), entry="./install.sh")
        assert victims.wait_for_event(machine, first, lambda event: True, 600), str(first)
        victims.kill(first)
        machine.wait_until_gone()
        yield machine


def options(machine: Machine) -> list[str]:
    """Return what every run here is told."""
    return [*machine.options(("workflows",)), "--docker-source", "distro"]


def die_in(machine: Machine, task: str, dice: random.Random, *more: str, within: float) -> None:
    """Start an install and kill all of it a moment after ``task`` has begun."""
    run = machine.start("install", *options(machine), *more)
    assert victims.wait_for_event(machine, run, starts(task), 300), str(run)
    instant = dice.uniform(0, within)
    time.sleep(instant)
    print(f"kill -9 {instant:.2f} s after the start of '{task}'")
    victims.hit(run, "tree", signal.SIGKILL)
    run.process.wait(timeout=60)
    machine.wait_until_gone()


def wanted(count: int) -> list[str]:
    """Return the flags for the first so many tools."""
    return [word for name in TOOLS[:count] for word in ("--devtools", name)]


def broken_packages(machine: Machine) -> str:
    """Return what dpkg has to say about packages that are half there."""
    return machine.sh("dpkg --audit; dpkg --get-selections | grep -v 'install$' || true")


def finish_and_rest(machine: Machine, *more: str) -> None:
    """The next run ends well, nothing half-made is left, and the one after changes nothing."""
    succeeded(machine.install(*options(machine), *more))
    assert broken_packages(machine) == ""
    assert machine.leftovers() == []
    assert machine.strangers() == []
    again = succeeded(machine.install("--yes", "--json"))
    assert (again.changed, again.tasks) == (0, 0), str(again)
    assert machine.stack.chat()[1]


def test_died_while_docker_was_installed(bare: Machine) -> None:
    """Row 05: killed in apt, again and again; each step has a proof of its own."""
    dice = random.Random(f"{cases.SEED} row 05")
    # Later each time, and never so late that nothing is left to install.
    for count in range(1, TIMES + 1):
        die_in(bare, "Install the missing packages", dice, within=2 * count)
        print(f"dpkg: {broken_packages(bare)!r}")
    # Killed after the packages too: the engine is there and nobody has set or proved it.
    die_in(bare, "Start the engine now and at every boot", dice, within=1)
    finish_and_rest(bare)
    assert '"log-driver"' in bare.sh("cat /etc/docker/daemon.json")
    assert bare.sh("systemctl is-enabled docker").strip() == "enabled"


def test_died_while_tools_were_installed(bare: Machine) -> None:
    """Row 07: a tool is there when the package is there, not when a directory is."""
    dice = random.Random(f"{cases.SEED} row 07")
    # One more each time: what the kill came too late for is no reason not to install any more.
    for count in range(1, len(TOOLS) + 1):
        die_in(bare, "Install the missing packages", dice, *wanted(count), within=4)
    finish_and_rest(bare, *wanted(len(TOOLS)))
    assert bare.sh("rg --version; jq --version; tree --version")


def test_died_while_images_were_pulled(bare: Machine) -> None:
    """Row 08: what is there is not pulled again."""
    dice = random.Random(f"{cases.SEED} row 08")
    bare.wipe()
    before = bare.sent_by_registry()
    for _ in range(TIMES):
        die_in(bare, "Make the images available", dice, within=3)
    finish_and_rest(bare)
    whole = bare.sent_by_registry() - before
    bare.wipe()
    before = bare.sent_by_registry()
    finish_and_rest(bare)
    once = bare.sent_by_registry() - before
    print(f"{once} bytes of images at once, {whole} with {TIMES} kills")
    # A layer in flight may come again with each kill, one that was complete may not.
    assert whole <= once * (1 + TIMES)
    assert [len(many) for many in bare.engine()["containers"].values() if len(many) != 1] == []
