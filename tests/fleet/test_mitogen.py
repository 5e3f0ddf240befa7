"""Through Mitogen the work is the same: what it makes, what ends it, and what it says."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from nodes.podman import Podman

from .machines import PASSWORD, Lab, files_with, make, wait_for

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(900)]

AT_ONCE = ("install", "--yes", "--canary", "0", "--waves", "100%", "--mitogen")


@pytest.fixture(scope="module")
def pair(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two hosts: by key, and by passwords for the login and for sudo."""
    with contextlib.ExitStack() as stack:
        made = make(podman, stack, tmp_path_factory.mktemp("pair"), 2)
        # An inventory cannot switch the checking of host keys off this way either.
        made.write_inventory(ansible_host_key_checking=False, ansible_ssh_host_key_checking=False)
        yield made


def works(lab: Lab, name: str) -> bool:
    """Tell whether Mitogen's Python stands on the host."""
    return any("mitogen:" in line for line in lab.nodes[name].processes())


def rests(lab: Lab, name: str) -> bool:
    return not works(lab, name) and not lab.at_work(name)


def test_both_hosts_are_installed(pair: Lab) -> None:
    assert pair.run("plan", "--accept-new-host-keys").code == 0
    with pair.started(*AT_ONCE) as running:
        for name in pair.nodes:
            wait_for(f"Mitogen on {name}", lambda name=name: works(pair, name), 120)  # type: ignore[misc]
        code = running.wait(timeout=600)
    assert code == 0, (pair.directory / "started.log").read_text()
    assert pair.run("status").code == 0
    again = pair.run(*AT_ONCE, "--json")
    assert set(again.states().values()) == {"unchanged"}, str(again)
    for name in pair.nodes:
        assert rests(pair, name), pair.nodes[name].processes()
        assert "No such file" in pair.sockets(name)
    assert set(files_with(PASSWORD, pair.directory)) == {pair.inventory}
    assert not list(pair.state.rglob("work"))


def test_the_same_roles_find_nothing_to_change(pair: Lab) -> None:
    done = pair.run(*AT_ONCE, "--full", "--json")
    assert done.code == 0, str(done)
    assert [host["changed"] for host in done.json()["hosts"]] == [0, 0]


def test_kill_of_the_controller_ends_it_there_too(pair: Lab) -> None:
    with pair.started(*AT_ONCE, "--full") as running:
        for name in pair.nodes:
            wait_for(f"Mitogen on {name}", lambda name=name: works(pair, name), 120)  # type: ignore[misc]
        os.kill(running.pid, signal.SIGKILL)
    for name in pair.nodes:
        wait_for(f"{name} to rest", lambda name=name: rests(pair, name), 90)  # type: ignore[misc]
    again = pair.run(*AT_ONCE, "--json")
    assert again.code == 0, str(again)


def test_a_host_without_power_is_told_and_harms_nobody_else(pair: Lab) -> None:
    gone, other = pair.hosts
    with pair.started(*AT_ONCE, "--full", "--max-fail", "100%", "--json") as running:
        wait_for("Mitogen", lambda: works(pair, gone), 120)
        pair.lose(gone)
        code = running.wait(timeout=600)
    said = (pair.directory / "started.log").read_text()
    pair.give_power(gone)
    pair.write_inventory()
    assert code == 13, said
    assert '"HOST_UNREACHABLE"' in said
    again = pair.run("install", "--yes", "--json", "--mitogen", "--accept-new-host-keys")
    assert again.code == 0, str(again)
    assert pair.run("status", "--limit", other).code == 0


def test_the_wrong_password_for_sudo_is_found_before_the_work(pair: Lab) -> None:
    pair.hosts["password"]["ansible_become_password"] = "not it"
    pair.write_inventory()
    done = pair.run(*AT_ONCE, "--full", "--json", "--limit", "password")
    pair.hosts["password"]["ansible_become_password"] = PASSWORD
    pair.write_inventory()
    assert done.json()["hosts"][0]["error"]["code"] == "SUDO_REFUSED", str(done)


def test_a_host_that_is_cut_off_rests_and_is_taken_up_again(pair: Lab) -> None:
    cut, other = pair.hosts
    with (
        pair.started(*AT_ONCE, "--full", "--max-fail", "100%", "--json") as running,
        pair.cut_off(cut),
    ):
        wait_for("Mitogen", lambda: works(pair, cut), 120)
        pair.inside(cut, "ip", "link", "set", "eth0", "down")
        code = running.wait(timeout=600)
        # What it does for us ends without a word from here; an idle Python harms nobody.
        wait_for(f"{cut} to rest", lambda: not pair.at_work(cut), 90)
    said = (pair.directory / "started.log").read_text()
    assert code == 13, said
    assert '"HOST_UNREACHABLE"' in said
    again = pair.run("install", "--yes", "--json", "--mitogen")
    assert again.code == 0, str(again)
    assert set(pair.run(*AT_ONCE, "--json").states().values()) == {"unchanged"}
    assert pair.run("status", "--limit", other).code == 0
