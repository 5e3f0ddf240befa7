"""The hosts of an inventory: their addresses, connections and settings."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...module_utils.dream_core import printable
from ...module_utils.dream_core.errors import UsageError
from ...module_utils.dream_core.redact import Redactor
from ...module_utils.dream_core.types.settings import SettingValues
from ...settings.problems import Problem, SettingsError
from . import files

#: Long enough for an inventory script that queries a cloud.
_READ_SECONDS = 300

#: Names are used in patterns, file names, addresses and command lines.
_HOST_NAME = re.compile(r"[\w\[:][\w.:%@+\[\]-]{0,252}")
_NO_GROUP = re.compile(r"[{}/\\]")

#: Same as in playbooks/group_vars/all/connection.yml.
_THIS_MACHINE = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Source:
    """The source of the hosts: Ansible inventories in order, a limit pattern, vault files."""

    inventories: tuple[str, ...]
    limit: str = ""
    vault_password_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class InventoryHost:
    """One host as the inventory describes it. Of passwords, only their presence is known."""

    name: str
    groups: tuple[str, ...] = ()
    settings: SettingValues = field(default_factory=SettingValues)
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
        """Return Ansible's connection type: ssh, or local for this machine."""
        usual = "local" if self.name in _THIS_MACHINE else "ssh"
        said = self.connection.get("ansible_connection", usual)
        return said.removeprefix("ansible.builtin.").replace("smart", "ssh")

    @property
    def account(self) -> tuple[str, ...]:
        """Return a key that identifies the account and machine, from the inventory alone."""
        if self.is_here:
            return ("local",)
        said = self.connection
        way = [said.get(name, "") for name in ("ansible_ssh_args", "ansible_ssh_common_args")]
        port, user = said.get("ansible_port", "22"), said.get("ansible_user", "")
        return (_plain_address(self.address), port, user, *way)

    @property
    def is_here(self) -> bool:
        """Tell whether the host is this machine."""
        return self.transport == "local"


def _plain_address(text: str) -> str:
    """Return an IP address in canonical form, or a name in the form that DNS compares."""
    bare = text.strip("[]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare.rstrip(".").lower()


def read(source: Source, environment: Mapping[str, str]) -> list[InventoryHost]:
    """Return the hosts in the inventory's order. Raises UsageError with all problems.

    ``environment`` is the same as for the Ansible runs.
    """
    _refuse_missing(source)
    _refuse_files(source)
    answer = _ask(source, environment)
    if "error" in answer:
        raise _invalid(source, answer)
    if answer["problems"]:
        raise SettingsError(
            Problem(f"{item['host']}: {item['variable']}", item["what"])
            for item in answer["problems"]
        )
    if not answer["hosts"]:
        raise _no_hosts(source)
    _refuse_names(answer["hosts"])
    hosts = [_host(item) for item in answer["hosts"]]
    _refuse_twice(hosts)
    return hosts


def _refuse_twice(hosts: Sequence[InventoryHost]) -> None:
    """Reject two names for one account: both would use the same lock and port."""
    first: dict[tuple[str, ...], InventoryHost] = {}
    problems = []
    for host in hosts:
        known = first.setdefault(host.account, host)
        if known is not host:
            place = "this machine" if host.is_here else host.address
            problems.append(
                Problem(
                    host.name,
                    f"this is the same account on the same machine as {known.name}: {place}",
                    "remove one of the two names, or exclude it with --limit "
                    + shlex.quote(f"!{host.name}"),
                )
            )
    if problems:
        raise SettingsError(problems)


def _refuse_names(hosts: Sequence[Mapping[str, Any]]) -> None:
    """Reject names that are special in Ansible patterns, ssh or templates."""
    groups = {group for host in hosts for group in host["groups"]}
    problems = [
        Problem(
            printable.line(f"host {host['name']!r}"),
            "host names may contain only letters, digits and . : % @ + - _ [ ]",
            "use a simple name and set the address with ansible_host",
        )
        for host in hosts
        if not _HOST_NAME.fullmatch(host["name"])
    ]
    problems += [
        Problem(printable.line(f"group {name!r}"), "group names must not contain braces or slashes")
        for name in sorted(groups)
        if not name.isprintable() or _NO_GROUP.search(name)
    ]
    if problems:
        raise SettingsError(problems)


def _refuse_missing(source: Source) -> None:
    """Reject missing files: Ansible would use their name as a host name."""
    named = [*source.inventories, *source.vault_password_files]
    missing = [text for text in named if "," not in text and not Path(text).exists()]
    if missing:
        raise SettingsError(
            Problem(
                text,
                "there is no such file",
                "to pass a list of host names, end it with a comma: 'a,b,'",
            )
            for text in missing
        )


def _refuse_files(source: Source) -> None:
    """Reject files that Ansible would read endlessly, or reject without a reason."""
    found = files.problems(source.inventories)
    if found:
        first = found[0]
        more = f"; {len(found) - 1} more files have problems" if len(found) > 1 else ""
        raise UsageError(
            f"the inventory cannot be read: {first.what}{more}",
            code="INVENTORY_INVALID",
            where=first.where,
            hint=first.hint or _check_hint(source.inventories[0]),
        )


def _invalid(source: Source, answer: Mapping[str, Any]) -> UsageError:
    """Return the error with the file, the line and the reason of Ansible's parser."""
    text = str(answer["error"])
    named = [item for item in source.inventories if item in text] or [source.inventories[0]]
    line, reason = files.reason(str(answer.get("warnings", "")), named[0])
    return UsageError(
        f"the inventory cannot be read: {reason or printable.line(text)}",
        code="INVENTORY_INVALID",
        where=f"{named[0]}:{line}" if line else named[0],
        hint=_check_hint(named[0]),
    )


def _check_hint(path: str) -> str:
    command = [sys.executable, "-m", "ansible", "inventory", "--list", "-i", path]
    return f"to see the full error, run: {shlex.join(command)}"


def _no_hosts(source: Source) -> UsageError:
    return UsageError(
        "no hosts are left" if source.limit else "the inventory contains no hosts",
        code="INVENTORY_EMPTY",
        where=", ".join(source.inventories),
        hint=f"--limit {source.limit!r} matches no host" if source.limit else "",
    )


def _ask(source: Source, environment: Mapping[str, str]) -> dict[str, Any]:
    request = {
        "sources": list(source.inventories),
        "limit": source.limit,
        "vault": list(source.vault_password_files),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dream_runner.fleet.inventory.reader"],
            input=json.dumps(request),
            # Fail on a partly readable inventory: its other hosts would be skipped silently.
            # Wide output keeps each warning, which has the reason, on one line.
            env={
                **environment,
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
                "COLUMNS": "10000",
            },
            text=True,
            capture_output=True,
            timeout=_READ_SECONDS,
            check=False,
        )
        return {**json.loads(done.stdout), "warnings": done.stderr}
    except subprocess.TimeoutExpired:
        return {"error": f"reading it took longer than {_READ_SECONDS} s"}
    except ValueError:
        return {"error": Redactor().text(_last_line(done.stderr))}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "Ansible ended without a message"


def _host(item: Mapping[str, Any]) -> InventoryHost:
    return InventoryHost(
        name=str(item["name"]),
        groups=tuple(item["groups"]),
        settings=item["settings"],
        overrides=item["overrides"],
        connection=item["connection"],
        has_password=bool(item["has_password"]),
        has_become_password=bool(item["has_become_password"]),
    )
