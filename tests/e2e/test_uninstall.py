"""After install and purge a machine is as it was, file for file and package for package."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nodes.node import Node

from .machine import COMMAND
from .whole import check_as_before, files, packages

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

MakeNode = Callable[..., Node]


@pytest.mark.parametrize(
    ("release", "systemd", "user"),
    [
        pytest.param("12", False, "root", id="debian12-no-systemd-root", marks=pytest.mark.slow),
        pytest.param("13", True, "root", id="debian13-systemd-root"),
    ],
)
def test_purge_leaves_the_machine_as_it_was(
    node: MakeNode, release: str, systemd: bool, user: str
) -> None:
    machine = node(release, systemd=systemd, user=user)
    machine.copy_checkout()
    before, packages_before = files(machine), packages(machine)
    done = machine.install(*COMMAND)
    assert done.code == 0, str(done)
    planned = machine.runner("uninstall", "--purge", "--dry-run", "--json").json()
    assert planned["left"] == []
    done = machine.runner("uninstall", "--purge", "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.json()["remove"] == planned["remove"]
    assert machine.install("--remove-runner").code == 0
    check_as_before(machine, before, packages_before)
