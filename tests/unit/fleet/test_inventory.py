"""Inventories in Ansible's own formats, read by Ansible itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.fleet.inventory.hosts import InventoryHost, Source, read
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.run.environment import ansible_environment
from dream_runner.settings.problems import SettingsError
from tests.fixtures import hostile


def hosts(
    tmp_path: Path, *inventories: Path | str, limit: str = "", vault: str = ""
) -> list[InventoryHost]:
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
    with pytest.raises(SettingsError, match="a setting is invalid"):
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


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.ini", b"\xef\xbb\xbf[gpu]\nn1\n", "1", "byte order mark"),
        ("a.ini", "[gpu]\nn1\n".encode("utf-16"), "1", "byte order mark"),
        ("a.yml", b"\xef\xbb\xbfall: {hosts: {a: }}\n", "1", "byte order mark"),
        ("a.yml", b"all:\n  hosts:\n\tn1:\n", "3", "it has a tab where YAML allows only spaces"),
        ("a.yml", b"all: {hosts: [\n", "2", "did not find expected"),
        ("a.yml", b"all:\n  hosts: [a]\n", "", 'Invalid "hosts" entry for "all" group'),
        ("a.ini", b"n1\nn2 a=1 s3cret\n", "2", "Expected key=value host variable assignment"),
        ("a.ini", b'n1\nn2 ansible_password="s3cret\n', "2", "No closing quotation"),
        ("a.yml", b"a: &a [" + b"x," * 900 + b"]\n" + b"".join(
            b"b%d: &b%d [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\na: &a [*b%d,*b%d,*b%d]\n" % ((n,) * 5)
            for n in range(5)), "", "aliases expand to too many values"),
    ],
)  # fmt: skip
def test_an_inventory_is_refused_with_file_line_and_reason(
    tmp_path: Path, name: str, content: bytes, line: str, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        hosts(tmp_path, path)
    error = caught.value
    assert error.code == "INVENTORY_INVALID"
    assert reason in error.what
    assert error.where == (f"{path}:{line}" if line else str(path))
    assert "s3cret" not in error.what + error.hint
    # The hint can be typed: ansible-inventory is not on anybody's PATH.
    assert "ansible-inventory" not in error.hint
    assert sys.executable in error.hint or "save the file" in error.hint or "write" in error.hint


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["hosts.yml", "group_vars/all.yml", "host_vars/a", "dir/hosts"])
def test_a_pipe_or_device_in_an_inventory_does_not_block(tmp_path: Path, place: str) -> None:
    (tmp_path / "inventory.ini").write_text("a\n")
    for kind in ("fifo", "zero", "sparse"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "zero":
            path.symlink_to("/dev/zero")
        else:
            with path.open("wb") as stream:
                stream.truncate(1 << 40)
        named = {"dir/hosts": path.parent, "hosts.yml": path}.get(place, tmp_path / "inventory.ini")
        with pytest.raises(UsageError) as caught:
            hosts(tmp_path, named)
        assert (caught.value.code, caught.value.where) == ("INVENTORY_INVALID", str(path))


def test_windows_line_ends_and_comments_in_latin_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_bytes(b"# Gr\xfc\xdfe\r\n[gpu]\r\na ansible_host=10.0.0.1\r\n")
    assert [host.address for host in hosts(tmp_path, path)] == ["10.0.0.1"]


@pytest.mark.parametrize(
    "variables",
    [
        {"dream_tier": hostile.LOOKUP},
        {"ansible_host": hostile.LOOKUP},
        {"ansible_user": hostile.TEXTS["query"]},
        {"ansible_port": "{{ there }}", "there": hostile.LOOKUP},
        {"ansible_ssh_common_args": hostile.LOOKUP},
        {"ansible_python_interpreter": hostile.LOOKUP},
        {"services_threads": hostile.LOOKUP},
        {"directories_extra_env": {"A": [hostile.LOOKUP]}},
        {"dream_model": "{{ hostvars[inventory_hostname].there }}", "there": hostile.LOOKUP},
        {"dream_model": "{{ lookup('vars', 'there') }}", "there": hostile.LOOKUP},
        {"dream_model": "{{ [hostile] | map('extract', vars) }}", "there": hostile.LOOKUP,
         "hostile": "there", "dream_tier": "{{ vars['there'] }}"},
        {"dream_tier": "{% set x = lookup %}{{ x('pipe', 'touch $HOSTILE_MARK') }}"},
    ],
)  # fmt: skip
def test_no_lookup_of_an_inventory_runs_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any]
) -> None:
    monkeypatch.setenv(hostile.MARK_VARIABLE, str(tmp_path / "mark"))
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {"a": variables}}}))
    with pytest.raises(SettingsError) as caught:
        hosts(tmp_path, path)
    told = " ".join(item.what for item in caught.value.problems)
    # What one cannot even reach here is undefined, and as little evaluated.
    assert "is not allowed here" in told or "is undefined" in told
    assert not (tmp_path / "mark").exists()


def test_lookups_that_read_and_literals_work_and_passwords_are_ansibles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hostile.MARK_VARIABLE, str(tmp_path / "mark"))
    monkeypatch.setenv("WHO", "me")
    path = tmp_path / "hosts.yml"
    path.write_text(
        """
all:
  hosts:
    a:
      ansible_user: "{{ lookup('env', 'WHO') }}"
      ansible_password: "{{ lookup('pipe', 'touch $HOSTILE_MARK') }}"
      dream_install_dir: "/srv/{{ inventory_hostname }}"
      dream_bundle: !unsafe "/srv/{{ 191 * 7 }}"
      unused: "{{ lookup('pipe', 'touch $HOSTILE_MARK') }}"
"""
    )
    (host,) = hosts(tmp_path, path)
    assert host.connection["ansible_user"] == "me"
    assert host.settings["dream_install_dir"] == "/srv/a"
    assert host.settings["dream_bundle"] == "/srv/{{ 191 * 7 }}"
    assert host.has_password
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "name", ["{{ 1 }}", "a b", "!a", "~x", "a/b", "a;b", "$(x)", "-oProxyCommand=x", "a\u202eb"]
)
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {name: {}}}}))
    with pytest.raises(UsageError):
        hosts(tmp_path, path)


def test_a_group_whose_name_is_an_expression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    group = {hostile.LOOKUP: {"hosts": {"a": {}}}}
    path.write_text(yaml.safe_dump({"all": {"children": group}}))
    with pytest.raises(SettingsError):
        hosts(tmp_path, path)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"ansible_host": "10.0.0.1"}, {"ansible_host": "10.0.0.1"}),
        ({"ansible_host": "10.0.0.1"}, {"ansible_host": "10.0.0.1", "ansible_port": 22}),
        ({"ansible_host": "fd00::1"}, {"ansible_host": "FD00:0:0::1"}),
        ({"ansible_host": "web.example"}, {"ansible_host": "WEB.example."}),
        ({"ansible_connection": "local"}, {"ansible_connection": "local"}),
    ],
)
def test_two_names_for_one_account_are_refused(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": {"a": first, "b": second}}}))
    with pytest.raises(SettingsError) as caught:
        hosts(tmp_path, path)
    (problem,) = caught.value.problems
    assert problem.where == "b"
    assert "the same account on the same machine as a" in problem.what
    assert [host.name for host in hosts(tmp_path, path, limit="!b")] == ["a"]


@pytest.mark.parametrize(
    "second",
    [
        {"ansible_host": "10.0.0.2"},
        {"ansible_host": "10.0.0.1", "ansible_port": 2222},
        {"ansible_host": "10.0.0.1", "ansible_user": "other"},
        {"ansible_host": "10.0.0.1", "ansible_ssh_common_args": "-J jump"},
    ],
)
def test_what_only_looks_alike_is_two_hosts(tmp_path: Path, second: dict[str, Any]) -> None:
    path = tmp_path / "hosts.yml"
    one = {"ansible_host": "10.0.0.1"}
    path.write_text(yaml.safe_dump({"all": {"hosts": {"a": one, "b": second}}}))
    assert len(hosts(tmp_path, path)) == 2
