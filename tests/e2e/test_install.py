"""README's command on bare Debian machines, from nothing to a model that answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from nodes.node import Node

from .machine import COMMAND, changes, chat, check_installed, one_error

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

MakeNode = Callable[..., Node]


@pytest.mark.parametrize(
    ("release", "systemd", "user"),
    [
        pytest.param("12", False, "root", id="debian12-no-systemd-root"),
        # In every run, tests/e2e/test_rights.py brings this user to an answer, with a password.
        pytest.param("13", True, "sudoer", id="debian13-systemd-sudo", marks=pytest.mark.slow),
        pytest.param("12", True, "root", id="debian12-systemd-root", marks=pytest.mark.slow),
        pytest.param("13", True, "root", id="debian13-systemd-root", marks=pytest.mark.slow),
        pytest.param("12", False, "sudoer", id="debian12-no-systemd-sudo", marks=pytest.mark.slow),
    ],
)
def test_bare_machine_to_an_answer(node: MakeNode, release: str, systemd: bool, user: str) -> None:
    machine = node(release, systemd=systemd, user=user)
    if systemd and user != "root":
        # Without it no user has a systemd manager; only the barest machines lack it.
        install = "apt-get -qq update && apt-get -qq -y install libpam-systemd"
        machine.must("sh", "-c", install, user="root", env={"DEBIAN_FRONTEND": "noninteractive"})
    machine.copy_checkout()
    done = machine.install(*COMMAND)
    assert done.code == 0, str(done)
    print(f"{release} {user}: {done.seconds:.0f} s")
    check_installed(machine)
    if systemd:
        check_survives_reboot(machine)


def check_survives_reboot(machine: Node) -> None:
    """The model answers again after a restart of the machine, without anybody's command."""
    machine.podman.run("restart", "-t", "10", machine.name)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = machine.runner("status", "--json")
        if status.code == 0:
            return
        time.sleep(1)
    raise AssertionError(str(status))


@pytest.mark.slow
def test_piped_from_standard_input(node: MakeNode) -> None:
    machine = node("12", systemd=False, user="root")
    machine.copy_checkout()
    script = machine.must("cat", "install.sh", cwd=machine.checkout).out
    done = machine.run("sh", "-s", "--", *COMMAND, input=script, cwd=machine.checkout)
    assert done.code == 0, str(done)
    assert chat(machine)


def test_ordinary_user_without_sudo_is_told_what_to_do(node: MakeNode) -> None:
    machine = node("12", systemd=True, user="plain")
    machine.copy_checkout()
    before = machine.listing("/home")
    error = one_error(machine.install(*COMMAND), 4)
    assert "apt-get install" in error
    assert changes(before, machine.listing("/home")) == []


@pytest.mark.slow
@pytest.mark.parametrize("systemd", [True, False])
def test_ordinary_user_where_the_packages_are_there(node: MakeNode, systemd: bool) -> None:
    machine = node("13", systemd=systemd, user="plain")
    install = "apt-get -qq update && apt-get -qq -y install python3-venv libgomp1"
    machine.must("sh", "-c", install, user="root", env={"DEBIAN_FRONTEND": "noninteractive"})
    machine.copy_checkout()
    done = machine.install(*COMMAND)
    assert done.code == 0, str(done)
    check_installed(machine)


@pytest.mark.parametrize("release", ["12", "13"])
def test_dry_run_on_a_bare_machine_writes_nothing(node: MakeNode, release: str) -> None:
    machine = node(release, systemd=False, user="root")
    machine.copy_checkout()
    before = machine.listing()
    done = machine.install(*COMMAND, "--dry-run")
    assert done.code == 0, str(done)
    assert changes(before, machine.listing()) == []
    assert "install python3-venv with apt" in done.out


@pytest.mark.slow
def test_dry_run_after_an_install_writes_nothing(node: MakeNode) -> None:
    machine = node("12", systemd=False, user="root")
    machine.copy_checkout()
    done = machine.install(*COMMAND)
    assert done.code == 0, str(done)
    before = machine.listing()
    for options in ((), ("--json",), ("--fresh",), ("--tier", "auto", "--voice", "no")):
        done = machine.install(*COMMAND, "--dry-run", *options)
        assert done.code == 0, str(done)
    # The engine writes its own log.
    assert changes(before, machine.listing(), "/root/ai-server/logs/") == []


@pytest.mark.slow
def test_power_cut_while_installing(node: MakeNode) -> None:
    """The whole machine dies at once, the supervisor too; after boot one command finishes."""
    machine = node("13", systemd=True, user="root")
    machine.copy_checkout()
    machine.podman.run("exec", "-d", "--workdir", machine.checkout, machine.name, "sh", "-c",
                       "HOME=/root ./install.sh --profile native --model smoke --yes")  # fmt: skip
    wait_for_phase(machine, "directories")
    machine.podman.run("kill", machine.name)
    machine.podman.run("start", machine.name)
    time.sleep(2)
    done = machine.install(*COMMAND)
    assert done.code == 0, str(done)
    check_installed(machine)


def wait_for_phase(machine: Node, phase: str, seconds: float = 300) -> None:
    """Wait until the run has begun ``phase``."""
    path = f"{machine.home}/.local/state/dream-runner/receipts/{phase}.json"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if machine.run("test", "-e", path).code == 0:
            return
        time.sleep(0.2)
    raise AssertionError(f"{phase} did not begin in {seconds} s")
