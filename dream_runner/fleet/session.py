"""One fleet run: its hosts, their settings, and what its Ansible runs share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..run.request import Reach, Request
from ..settings.table import BY_NAME
from ..settings.values import Settings, as_ansible_vars
from .blob_store import Server
from .host_settings import DEFAULT_STATE_DIR, STATE_DIR
from .inventory.hosts import InventoryHost, Source
from .peer_sharing import Shares
from .ssh_sockets import Wires


@dataclass(frozen=True)
class Passwords:
    """The SSH and sudo passwords. None: not needed, or set in the inventory."""

    login: str | None = field(default=None, repr=False)
    become: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class HostAccess:
    """How to reach the hosts; the same for all commands."""

    source: Source
    forks: int = 0
    accept_new_host_keys: bool = False
    ask_pass: bool = False
    password_file: str = ""
    ask_become_pass: bool = False
    become_password_file: str = ""


@dataclass(frozen=True)
class Fleet:
    """The hosts in the inventory's order, and everything that their runs share.

    ``caller`` is the environment that this program was started with.
    """

    run_id: str
    run_dir: Path
    source: Source
    hosts: Mapping[str, InventoryHost]
    settings: Mapping[str, Settings]
    wires: Wires
    passwords: Passwords
    caller: Mapping[str, str]
    server: Server | None = None
    shares: Shares | None = None

    def directory(self, name: str) -> Path:
        """Return the directory of a host's log and journal."""
        return self.run_dir / "hosts" / name.replace(os.sep, "_")

    def request(
        self,
        playbook: str,
        names: Iterable[str],
        run_dir: Path,
        variables: Mapping[str, Any],
        *,
        forks: int = 1,
        check: bool = False,
        places: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Request:
        """Return the Ansible run of ``playbook`` over the hosts ``names``.

        ``places`` are paths as a host resolved them; they override the settings.
        """
        chosen = list(names)
        table = {name: self._row(name, (places or {}).get(name, {})) for name in chosen}
        token = self.server.token if self.server else ""
        return Request(
            playbook=playbook,
            variables={
                "dream_fleet": table,
                "dream_fleet_peer_token": token,
                **variables,
            },
            run_id=self.run_id,
            run_dir=run_dir,
            reach=Reach(
                inventories=self.source.inventories,
                limit=",".join(chosen),
                socket=cell("socket"),
                templates=FROM_TABLE,
                forks=forks,
                vault_password_files=self.source.vault_password_files,
                password=self.passwords.login,
            ),
            become_password=self.passwords.become,
            environment=self._environment(),
            check=check,
        )

    def _environment(self) -> dict[str, str]:
        # Ansible passes a password to ssh through its own program, which is found on PATH.
        programs = [os.path.dirname(sys.executable), self.caller.get("PATH", os.defpath)]
        return {"DREAM_MODULES": str(self.wires.modules), "PATH": os.pathsep.join(programs)}

    def _row(self, name: str, places: Mapping[str, str]) -> dict[str, Any]:
        wire = self.wires[name]
        said = str(self.hosts[name].settings.get(STATE_DIR) or DEFAULT_STATE_DIR)
        return {
            **as_ansible_vars(self.settings[name]),
            STATE_DIR: said,
            "socket": wire.lifeline,
            "ssh_args": self.wires.ssh_args(name),
            "forwards": self.wires.forwards(name),
            "peers": self._peers(name),
            **places,
        }

    def _peers(self, name: str) -> list[str]:
        """Return the file servers in the order of use: sharing hosts, then the controller."""
        hosts = self.shares.peers(name) if self.shares else []
        return [*hosts, *(self.server.peers(self.wires[name].blobs) if self.server else [])]

    def finish_host(self, name: str, *, is_good: bool) -> None:
        """Finish with a host: it starts to serve its files, or its connection is closed."""
        if not (is_good and self.shares and self.shares.begin(name)):
            self.wires.close_connection(name)


def cell(column: str) -> str:
    """Return the template of a value in the host's row of the fleet's table."""
    return "{{ dream_fleet[inventory_hostname]['" + column + "'] }}"


#: Extra variables override the inventory, but are the same for all hosts. So each of them
#: looks up its value in a table of hosts.
FROM_TABLE = {
    **{f"dream_{name}": cell(f"dream_{name}") for name in BY_NAME},
    STATE_DIR: cell(STATE_DIR),
    "dream_fleet_peers": cell("peers"),
    "ansible_ssh_args": cell("ssh_args"),
    "ansible_ssh_extra_args": cell("forwards"),
}
