"""Read an inventory with Ansible's own loader and print the hosts as JSON.

Runs as ``python -m dream_runner.fleet.inventory.reader`` in a separate process: importing
Ansible takes half a second and changes the process. The request is read from standard input.
Only settings and connection variables are printed; of a password, only that it is set.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.printable import line
from dream_runner.module_utils.dream_core.redact import Redactor

#: Variables that decide how a host is reached.
CONNECTION = (
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)
_PASSWORDS = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
_BECOME_PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
_PREFIX = "dream_"
_LONGEST_REASON = 300
#: Lookups that only read: environment, variables, and files that are not evaluated.
_READING = frozenset(
    (
        *("config", "csvfile", "dict", "env", "file", "first_found", "fileglob", "indexed_items"),
        *("ini", "inventory_hostnames", "items", "list", "nested", "sequence", "subelements"),
        *("together", "unvault", "vars", "varnames"),
    )
)


def main() -> None:
    """Read one request from standard input and write the answer to standard output."""
    request = json.load(sys.stdin)
    # Keep prints of Ansible and its plugins out of the answer: send them to standard error.
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(read(request["sources"], request["limit"], request["vault"]), answer)


def read(sources: list[str], limit: str, vault_password_files: list[str]) -> dict[str, Any]:
    """Return ``{hosts: [...], problems: [...]}`` or ``{error: text}``."""
    from ansible.errors import AnsibleError
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()
    gate = Gate()
    try:
        inventory, variables, loader = _load(sources, vault_password_files)
        for what in gate.take():
            # An inventory plugin used the lookup to create hosts or groups.
            return {"error": what}
        if limit:
            inventory.subset(limit)
        hosts = inventory.get_hosts()
        found = [_host(host, variables, loader, gate) for host in hosts]
    except AnsibleError as error:
        return {"error": str(error)}
    return {
        "hosts": [host for host, _ in found],
        "problems": [problem for _, problems in found for problem in problems],
    }


def _load(sources: list[str], vault_password_files: list[str]) -> tuple[Any, Any, Any]:
    from ansible import context
    from ansible.cli import CLI
    from ansible.inventory.manager import InventoryManager
    from ansible.module_utils.common.collections import ImmutableDict
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    context.CLIARGS = ImmutableDict({})
    loader = DataLoader()
    secrets = CLI.setup_vault_secrets(
        loader, vault_ids=[], vault_password_files=vault_password_files, auto_prompt=False
    )
    loader.set_vault_secrets(secrets)
    inventory = InventoryManager(loader=loader, sources=sources)
    return inventory, VariableManager(loader=loader, inventory=inventory), loader


def _host(
    host: Any, manager: Any, loader: Any, gate: Gate
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    from ansible.errors import AnsibleError
    from ansible.template import Templar

    variables = manager.get_vars(host=host, include_hostvars=True)
    templar = Templar(loader=loader, variables=variables)
    problems: list[dict[str, str]] = []

    def value(name: str) -> Any:
        try:
            return templar.template(variables[name])
        except AnsibleError as error:
            refused = gate.take()
            what = refused[0] if refused else line(Redactor().text(str(error)), _LONGEST_REASON)
            problems.append({"host": host.name, "variable": name, "what": what})
            return None

    def refuse(name: str) -> None:
        for what in gate.refused(lambda: templar.template(variables[name])):
            problems.append({"host": host.name, "variable": name, "what": what})

    own = [name for name in variables if name.startswith(_PREFIX)]
    connection = {name: value(name) for name in CONNECTION if name in variables}
    for name in variables:
        if name not in own and name not in connection and _is_used(name):
            refuse(name)
    described = {
        "name": host.name,
        "groups": sorted(group.name for group in host.get_groups()),
        "settings": {name: value(name) for name in own},
        # Compared as text, like all role inputs.
        "overrides": {name: str(text) for name, text in variables.items() if _is_of_a_role(name)},
        "connection": {name: str(text) for name, text in connection.items() if text is not None},
        "has_password": any(name in variables for name in _PASSWORDS),
        "has_become_password": any(name in variables for name in _BECOME_PASSWORDS),
    }
    return described, problems


def _is_used(name: str) -> bool:
    """Tell whether Ansible or one of our roles uses the variable, and it is not a password."""
    is_password = name in (*_PASSWORDS, *_BECOME_PASSWORDS)
    return (name.startswith("ansible_") and not is_password) or _is_of_a_role(name)


class Gate:
    """Allow the expressions of an inventory to read data, and nothing else.

    A lookup can run a program on this machine. Passwords are not evaluated here, so they may use
    any lookup, such as a password manager.
    """

    def __init__(self) -> None:
        from ansible.plugins.loader import lookup_loader

        self._refused: list[str] = []
        self._get = lookup_loader.get
        lookup_loader.get = self._checked

    def _checked(self, name: str, *args: Any, **options: Any) -> Any:
        from ansible.errors import AnsibleError

        if name.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.") in _READING:
            return self._get(name, *args, **options)
        words = f"the lookup {line(name, 60)!r} is not allowed here; write the value instead"
        self._refused.append(words)
        raise AnsibleError(words)

    def refused(self, evaluate: Callable[[], Any]) -> list[str]:
        """Return what was refused while ``evaluate`` ran; ignore all other errors."""
        with contextlib.suppress(Exception):
            evaluate()
        return self.take()

    def take(self) -> list[str]:
        """Return what was refused since the last call."""
        found, self._refused = self._refused, []
        return found


def _is_of_a_role(name: str) -> bool:
    return name.startswith(tuple(f"{phase}_" for phase in PHASES))


if __name__ == "__main__":
    main()
