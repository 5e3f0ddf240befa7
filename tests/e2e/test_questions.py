"""install.sh where a person sits in front of it, and where sudo wants a password."""

from __future__ import annotations

from collections.abc import Callable

import pexpect
import pytest
from nodes.node import Node

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def machine(module_node: Callable[..., Node]) -> Node:
    """A bare node whose user may use sudo with a password."""
    node = module_node("13", systemd=False, user="plain")
    node.must("sh", "-c", "usermod -aG sudo plain; echo plain:open | chpasswd", user="root")
    node.copy_checkout()
    return node


def at_terminal(machine: Node, command: str) -> pexpect.spawn:
    """Run ``command`` in the checkout as a person would."""
    arguments = ["exec", "-it", "--user", machine.user, "--workdir", machine.checkout]
    arguments += ["--env", f"HOME={machine.home}", machine.name, "sh", "-c", command]
    program, *words = machine.podman.command(*arguments)
    return pexpect.spawn(program, words, timeout=120, encoding="utf-8", dimensions=(40, 400))


def ending(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)


@pytest.mark.parametrize(
    "command",
    [
        "./install.sh --profile native --model smoke",
        "sh -s -- --profile native --model smoke < install.sh",
    ],
)
def test_no_is_an_answer(machine: Node, command: str) -> None:
    child = at_terminal(machine, command)
    child.expect("Install with sudo")
    child.sendline("n")
    child.expect("as root run 'apt-get install -y [^ ]*venv libgomp1' once")
    assert ending(child) == 4


def test_without_a_terminal_nobody_is_asked(machine: Node) -> None:
    done = machine.install("--profile", "native", "--model", "smoke")
    assert done.code == 4, str(done)
    assert "Install with sudo" not in done.text


@pytest.mark.slow
def test_yes_then_the_question_of_the_install_itself(machine: Node) -> None:
    child = at_terminal(machine, "sh -s -- --profile native --model smoke < install.sh")
    child.expect("Install with sudo")
    child.sendline("")
    child.expect("assword")
    child.sendline("open")
    child.expect("creating the private environment")
    # The script came from standard input, the answer comes from the terminal.
    child.expect("Go ahead")
    child.sendline("n")
    assert ending(child) == 130
    # And to the end; what was typed once is not asked for again.
    child = at_terminal(machine, "sh -s -- --profile native --model smoke < install.sh")
    child.expect("Go ahead")
    child.sendline("y")
    assert child.expect(["Ready in", "assword"]) == 0
    assert ending(child) == 0
    assert machine.runner("status").code == 0
