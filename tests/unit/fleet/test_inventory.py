"""Inventories in Ansible's own formats, read by Ansible itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dream_runner.fleet.inventory import Host, Source, read
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.run import ansible_environment
from dream_runner.settings import SettingsError


def hosts(tmp_path: Path, *inventories: Path | str, limit: str = "", vault: str = "") -> list[Host]:
    source = Source(tuple(map(str, inventories)), limit, (vault,) if vault else ())
    return read(source, ansible_environment(tmp_path / "work", os.environ))


def test_groups_vaults_templates_and_limits(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(
        "[gpu]\na ansible_host=10.0.0.1 dream_engine_port=9000\nb\n[edge]\nc\n"
    )
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "gpu.yml").write_text(
        'dream_install_dir: "/srv/{{ inventory_hostname }}"\ndream_tier: T1\nservices_threads: 4\n'
    )
    secret = tmp_path / "vault.txt"
    secret.write_text("of the vault")
    secret.chmod(0o600)
    (tmp_path / "host_vars").mkdir()
    vaulted = tmp_path / "host_vars" / "b.yml"
    vaulted.write_text("ansible_become_password: hidden\ndream_tier: T2\n")
    subprocess.run(
        [sys.executable, "-m", "ansible", "vault", "encrypt", str(vaulted),
         "--vault-password-file", str(secret)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    found = hosts(tmp_path, tmp_path / "hosts.ini", limit="gpu", vault=str(secret))
    a, b = found
    assert (a.name, a.address, a.groups) == ("a", "10.0.0.1", ("all", "gpu"))
    assert a.settings == {
        "dream_engine_port": 9000,
        "dream_install_dir": "/srv/a",
        "dream_tier": "T1",
    }
    assert a.overrides == {"services_threads": "4"}
    assert (b.settings["dream_tier"], b.has_become_password, b.has_password) == ("T2", True, False)
    assert "hidden" not in repr(found)


def test_a_script_and_a_list_of_names(tmp_path: Path) -> None:
    script = tmp_path / "cloud.py"
    script.write_text(
        "#!/bin/sh\n"
        """echo '{"web": {"hosts": ["x"]}, "_meta": {"hostvars": {"x": {"dream_tier": "T3"}}}}'\n"""
    )
    script.chmod(0o755)
    found = hosts(tmp_path, script, "y,localhost,")
    known = {host.name: host for host in found}
    assert {name: host.transport for name, host in known.items()} == {
        "x": "ssh",
        "y": "ssh",
        "localhost": "local",
    }
    assert known["x"].settings == {"dream_tier": "T3"}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a setting is wrong"):
        hosts(tmp_path, tmp_path / "none.yml")
    broken = tmp_path / "broken.yml"
    broken.write_text("all: {hosts: [")
    with pytest.raises(UsageError) as caught:
        hosts(tmp_path, broken)
    assert caught.value.code == "INVENTORY_INVALID"
    with pytest.raises(UsageError) as caught:
        hosts(tmp_path, "a,b,", limit="c*")
    assert caught.value.code == "INVENTORY_EMPTY"


def test_a_variable_that_cannot_be_made_is_told_with_its_host(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text('all: {hosts: {a: {dream_tier: "{{ nobody_said_this }}"}, b: {}}}\n')
    with pytest.raises(SettingsError) as caught:
        hosts(tmp_path, inventory)
    assert [item.where for item in caught.value.problems] == ["a: dream_tier"]


def test_shards_by_a_hash_of_the_name(tmp_path: Path) -> None:
    """As docs/developer/fleet.md splits a fleet between controllers."""
    directory = tmp_path / "inventory"
    directory.mkdir()
    names = [f"host{number}" for number in range(16)]
    (directory / "hosts.ini").write_text("\n".join(names) + "\n")
    (directory / "shards.yml").write_text(
        "plugin: ansible.builtin.constructed\n"
        "groups:\n"
        """  shard0: "inventory_hostname | hash('md5') | first in '01234567'"\n"""
        """  shard1: "inventory_hostname | hash('md5') | first in '89abcdef'"\n"""
    )
    shards = [{host.name for host in hosts(tmp_path, directory, limit=f"shard{n}")} for n in (0, 1)]
    assert all(shards)
    assert not shards[0] & shards[1]
    assert shards[0] | shards[1] == set(names)


def test_a_jump_host_is_a_connection_and_no_setting(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("a ansible_ssh_common_args='-J jump.example.com' ansible_port=2222\n")
    (found,) = hosts(tmp_path, inventory)
    assert found.connection["ansible_ssh_common_args"] == "-J jump.example.com"
    assert (found.connection["ansible_port"], found.settings) == ("2222", {})
