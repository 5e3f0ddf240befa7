"""The hosts of an inventory: who they are, how to reach them, what was said of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..module_utils.dream_core import printable
from ..module_utils.dream_core.errors import UsageError
from ..settings import Problem, SettingsError

#: An inventory script may ask a cloud.
_READ_SECONDS = 300

#: Names go into patterns, file names, addresses and command lines.
_HOST_NAME = re.compile(r"[\w\[:][\w.:%@+\[\]-]{0,252}")
_NO_GROUP = re.compile(r"[{}/\\]")

#: As playbooks/group_vars/all/connection.yml has it.
_THIS_MACHINE = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Source:
    """Where the hosts come from: Ansible's inventories in order, a pattern, vault files."""

    inventories: tuple[str, ...]
    limit: str = ""
    vault_password_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Host:
    """One host as the inventory describes it; passwords are only known to be there."""

    name: str
    groups: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    connection: Mapping[str, str] = field(default_factory=dict)
    has_password: bool = False
    has_become_password: bool = False

    @property
    def address(self) -> str:
        """Return the name or address to connect to."""
        return self.connection.get("ansible_host", self.name)

    @property
    def transport(self) -> str:
        """Return how Ansible reaches the host: ssh, or local where it is this machine."""
        usual = "local" if self.name in _THIS_MACHINE else "ssh"
        said = self.connection.get("ansible_connection", usual)
        return said.removeprefix("ansible.builtin.").replace("smart", "ssh")

    @property
    def is_here(self) -> bool:
        """Tell whether the host is this machine."""
        return self.transport == "local"


def read(source: Source, environment: Mapping[str, str]) -> list[Host]:
    """Return the hosts in the inventory's order; raise UsageError with all that is wrong.

    ``environment`` is that of the Ansible runs, so that both read the same.
    """
    _refuse_missing(source)
    answer = _ask(source, environment)
    if "error" in answer:
        raise UsageError(
            f"the inventory cannot be read: {answer['error']}",
            code="INVENTORY_INVALID",
            where=", ".join(source.inventories),
            hint="'ansible-inventory --list -i FILE' reads it the same way",
        )
    if answer["problems"]:
        raise SettingsError(
            Problem(f"{item['host']}: {item['variable']}", item["what"])
            for item in answer["problems"]
        )
    if not answer["hosts"]:
        raise _no_hosts(source)
    _refuse_names(answer["hosts"])
    return [_host(item) for item in answer["hosts"]]


def _refuse_names(hosts: Sequence[Mapping[str, Any]]) -> None:
    """Refuse names that Ansible's patterns, an ssh or a template would take for something else."""
    groups = {group for host in hosts for group in host["groups"]}
    problems = [
        Problem(
            printable.line(f"host {host['name']!r}"),
            "a host's name has letters, digits and . : % @ + - _ [ ] only",
            "put its address in ansible_host and give it a simple name",
        )
        for host in hosts
        if not _HOST_NAME.fullmatch(host["name"])
    ]
    problems += [
        Problem(printable.line(f"group {name!r}"), "a group's name has no braces or slashes")
        for name in sorted(groups)
        if not name.isprintable() or _NO_GROUP.search(name)
    ]
    if problems:
        raise SettingsError(problems)


def _refuse_missing(source: Source) -> None:
    """Say of every file that is not there, before Ansible takes its name for a host."""
    named = [*source.inventories, *source.vault_password_files]
    missing = [text for text in named if "," not in text and not Path(text).exists()]
    if missing:
        raise SettingsError(
            Problem(text, "there is no such file", "a list of names ends in a comma: 'a,b,'")
            for text in missing
        )


def _no_hosts(source: Source) -> UsageError:
    return UsageError(
        "no host is left" if source.limit else "the inventory names no host",
        code="INVENTORY_EMPTY",
        where=", ".join(source.inventories),
        hint=f"--limit {source.limit!r} matches nothing" if source.limit else "",
    )


def _ask(source: Source, environment: Mapping[str, str]) -> dict[str, Any]:
    request = {
        "sources": list(source.inventories),
        "limit": source.limit,
        "vault": list(source.vault_password_files),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dream_runner.fleet.reader"],
            input=json.dumps(request),
            # Half an inventory is none: the hosts of the other half would silently stay behind.
            env={**environment, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"},
            text=True,
            capture_output=True,
            timeout=_READ_SECONDS,
            check=False,
        )
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return {"error": f"it did not end within {_READ_SECONDS} s"}
    except ValueError:
        return {"error": _last_line(done.stderr)}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


def _host(item: Mapping[str, Any]) -> Host:
    return Host(
        name=str(item["name"]),
        groups=tuple(item["groups"]),
        settings=item["settings"],
        overrides=item["overrides"],
        connection=item["connection"],
        has_password=bool(item["has_password"]),
        has_become_password=bool(item["has_become_password"]),
    )
