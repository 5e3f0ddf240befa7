"""What a user may do: each kind to the end of an install, typed on a terminal where one is meant.

On nodes of Debian 12 and 13; which case runs on which, and what is left to DREAM_TEST_SLOW=1, is in
the tables below.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pexpect
import pytest
from nodes.node import Node

from .machine import chat
from .test_install import check_survives_reboot

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

PASSWORD = "open sesame"
INSTALL = "./install.sh --profile native --model smoke"
#: What sudo asks for in our words; what the packages are called differs by what is missing.
PROMPT = r"\[sudo\] password for plain \(needed to install ([^)]*)\): "

Start = Callable[..., Node]


def with_sudo(
    start: Start, release: str, rules: str = "", groups: str = "sudo", *, systemd: bool = False
) -> Node:
    """Return a bare node whose user ``plain`` has a password and is in ``groups``."""
    node = start(release, systemd=systemd, user="plain")
    script = f"echo 'plain:{PASSWORD}' | chpasswd\n"
    script += f"usermod -aG {groups} plain\n" if groups else ""
    script += f"printf '%s\\n' '{rules}' > /etc/sudoers.d/rules\n" if rules else ""
    node.must("sh", "-ec", script, user="root")
    node.copy_checkout()
    return node


def at_terminal(node: Node, command: str) -> pexpect.spawn:
    """Run ``command`` in the checkout as a person would."""
    arguments = ["exec", "-it", "--user", node.user, "--workdir", node.checkout]
    arguments += ["--env", f"HOME={node.home}", node.name, "sh", "-c", command]
    program, *words = node.podman.command(*arguments)
    return pexpect.spawn(program, words, timeout=300, encoding="utf-8", dimensions=(40, 400))


def ending(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)


def check_ready(node: Node) -> None:
    assert chat(node)
    status = node.runner("status", "--json")
    assert (status.code, status.json()["state"]) == (0, "ready"), str(status)


def as_root(node: Node, text: str) -> None:
    """Type as root exactly what an error says, once."""
    found = re.search(r"as root run '([^']+)' once", text)
    assert found, text
    node.must("sh", "-c", f"apt-get -qq update && {found.group(1)}", user="root")


def warm_ticket(start: Start, release: str) -> None:
    """Who typed sudo a moment ago: the ticket of the terminal does not count for Ansible."""
    node = with_sudo(start, release)
    node.must("sh", "-c", "apt-get -qq update && apt-get -qq -y install python3-venv", user="root")
    child = at_terminal(node, f"sudo true && sudo -n true && {INSTALL}")
    child.expect("password for plain: ")
    child.sendline(PASSWORD)
    child.expect("Go ahead")
    child.sendline("y")
    child.expect("As root run 'apt-get install -y libgomp1' once; the rest needs no root")
    child.expect(PROMPT)
    assert child.match.group(1) == "libgomp1"
    child.sendline("wrong")
    child.expect("did not accept the password, try again: ")
    child.sendline(PASSWORD)
    # At the very end the line to paste: the directory is not on this PATH.
    child.expect("Ready in")
    child.expect_exact('export PATH="$HOME/.local/bin:$PATH"')
    assert ending(child) == 0
    check_ready(node)
    status = node.runner("status")
    assert "sudo" not in status.text


def cold_ticket(start: Start, release: str) -> None:
    """One password for all that is missing, from a bare machine; asked for after its plan."""
    one_password(with_sudo(start, release))


def under_systemd(start: Start, release: str, groups: str) -> Node:
    node = with_sudo(start, release, groups=groups, systemd=True)
    # Without it no user has a systemd manager; only the barest machines lack it.
    script = "apt-get -qq update && apt-get -qq -y install libpam-systemd"
    node.must("sh", "-c", script, user="root")
    return node


def cold_ticket_under_systemd(start: Start, release: str) -> None:
    """The same password lets the engine run without a login: it answers after a reboot."""
    node = under_systemd(start, release, "sudo")
    one_password(node)
    assert node.must("ls", "/var/lib/systemd/linger").out == "plain\n"
    check_survives_reboot(node)


def not_in_sudoers_under_systemd(start: Start, release: str) -> None:
    """After root's one command nothing needs root, and the engine outlives the login."""
    node = under_systemd(start, release, "")
    refused = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert refused.code == 4, str(refused)
    as_root(node, refused.text)
    done = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert done.code == 0, str(done)
    check_ready(node)
    check_survives_reboot(node)


def one_password(node: Node) -> None:
    child = at_terminal(node, INSTALL)
    child.expect("Missing: [^ ]*venv libgomp1")
    child.expect("Install with sudo")
    child.sendline("")
    child.expect(PROMPT)
    assert child.match.group(1).partition(";")[0].split()[1:] == ["libgomp1"]
    child.sendline(PASSWORD)
    child.expect("Go ahead")
    child.sendline("y")
    assert child.expect(["Ready in", PROMPT]) == 0, "asked for the password a second time"
    assert ending(child) == 0
    check_ready(node)


def use_pty(start: Start, release: str) -> None:
    """The default of Debian 13, set on both."""
    node = with_sudo(start, release, "Defaults use_pty")
    child = at_terminal(node, INSTALL)
    child.expect("Install with sudo")
    child.sendline("y")
    child.expect(PROMPT)
    child.sendline(PASSWORD)
    child.expect("Go ahead")
    child.sendline("y")
    assert ending(child) == 0
    check_ready(node)


def no_sudo(start: Start, release: str) -> None:
    """Told at once, with one command for root; after it the same command installs."""
    node = with_sudo(start, release, groups="")
    node.must("sh", "-c", "mv /usr/bin/sudo /usr/bin/sudo.away", user="root")
    child = at_terminal(node, INSTALL)
    child.expect("libgomp1' once, then run install.sh again; the rest needs no root")
    assert ending(child) == 4
    refused = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert refused.code == 4
    as_root(node, refused.text)
    child = at_terminal(node, INSTALL)
    child.expect("Go ahead")
    child.sendline("y")
    assert ending(child) == 0
    check_ready(node)
    assert node.run("sh", "-c", "ls ~/.local/bin").out.split() == ["dream-runner"]


def not_in_sudoers(start: Start, release: str) -> None:
    """The way without sudo stands before the question; a right password is asked for once."""
    node = with_sudo(start, release, groups="")
    child = at_terminal(node, INSTALL)
    child.expect("As root run 'apt-get install -y [^ ]*venv libgomp1' once")
    child.expect("Install with sudo")
    child.sendline("y")
    child.expect(PROMPT)
    child.sendline(PASSWORD)
    child.expect("libgomp1' once, then run install.sh again; the rest needs no root")
    assert ending(child) == 4
    refused = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert refused.code == 4
    node.must("sh", "-c", "apt-get -qq update && apt-get -qq -y install python3-venv", user="root")
    # The command itself: nothing is asked with --yes, and the plan's question comes first without.
    refused = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert "SUDO_NEEDED" in refused.text
    child = at_terminal(node, INSTALL)
    child.expect("Go ahead")
    child.sendline("y")
    child.expect(PROMPT)
    child.sendline(PASSWORD)
    child.expect("this user is not in the sudoers file")
    assert ending(child) == 4
    as_root(node, refused.text)
    assert node.install("--yes", "--profile", "native", "--model", "smoke").code == 0
    check_ready(node)


def requiretty(start: Start, release: str) -> None:
    """sudo works for install.sh at the terminal and never for Ansible: said before a question."""
    node = with_sudo(start, release, "plain ALL=(ALL) NOPASSWD: ALL\nDefaults requiretty")
    node.must("sh", "-c", "apt-get -qq update && apt-get -qq -y install python3-venv", user="root")
    child = at_terminal(node, INSTALL)
    assert child.expect(["sudo requires a terminal for every command", "Go ahead"]) == 0
    assert ending(child) == 4
    refused = node.install("--yes", "--profile", "native", "--model", "smoke")
    as_root(node, refused.text)
    child = at_terminal(node, INSTALL)
    child.expect("Go ahead")
    child.sendline("y")
    assert ending(child) == 0
    check_ready(node)


def no_password(start: Start, release: str) -> None:
    """Nothing is asked; a package source of somebody else's that is broken is named, no more."""
    node = with_sudo(start, release, "plain ALL=(ALL) NOPASSWD: ALL")
    script = "mkdir -p /srv/bad/dists/stable; echo Origin: x > /srv/bad/dists/stable/Release\n"
    script += "echo 'deb file:/srv/bad stable main' > /etc/apt/sources.list.d/vendor-gpu.list\n"
    node.must("sh", "-c", script, user="root")
    done = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert done.code == 0, str(done)
    assert "warning: E: The repository 'file:/srv/bad stable Release' is not signed." in done.text
    told = re.findall(r"cannot use the package source file:/srv/bad \(\S+\)", done.text)
    assert told == [
        "cannot use the package source file:/srv/bad (/etc/apt/sources.list.d/vendor-gpu.list)"
    ]
    check_ready(node)


def root(start: Start, release: str) -> None:
    """The command is found by its name, in every shell of root's, until it is removed."""
    node = start(release, systemd=False, user="root")
    node.copy_checkout()
    child = at_terminal(node, INSTALL)
    child.expect("Go ahead")
    child.sendline("y")
    child.expect("Ready in")
    assert child.expect(["export PATH", "'dream-runner status'"]) == 1
    assert ending(child) == 0
    check_ready(node)
    login = node.run("su", "-", "root", "-c", "dream-runner status --json")
    assert login.json()["state"] == "ready"
    node.must("dream-runner", "uninstall", "--purge", "--yes")
    assert node.install("--remove-runner").code == 0
    assert node.run("sh", "-c", "command -v dream-runner").code != 0
    # Of somebody else's nothing is touched.
    foreign = "/usr/local/bin/dream-runner"
    node.must("sh", "-c", f"echo other > {foreign}")
    done = node.install("--yes", "--profile", "native", "--model", "smoke")
    assert f"{foreign} exists and was not created by install.sh" in done.text
    assert node.must("cat", foreign).out == "other\n"
    assert node.run("/root/.local/bin/dream-runner", "status").code == 0


#: In CI on every run. For a user without sudo test_install.py stands in, up to the refusal.
ALWAYS = [(warm_ticket, "13")]
CASES = [
    warm_ticket,
    cold_ticket,
    cold_ticket_under_systemd,
    no_password,
    no_sudo,
    not_in_sudoers,
    not_in_sudoers_under_systemd,
    requiretty,
    use_pty,
    root,
]
ALL = [
    pytest.param(case, release, marks=() if (case, release) in ALWAYS else pytest.mark.slow)
    for case in CASES
    for release in ("12", "13")
]


@pytest.mark.parametrize(("case", "release"), ALL)
def test_to_the_end(node: Start, case: Callable[[Start, str], None], release: str) -> None:
    case(node, release)
