"""The sockets between the controller and its hosts beside Ansible: life lines and file server.

Every SSH connection forwards two sockets of this machine to the host (``ssh -R``). The life line
receives progress and renews a lease: a long module ends when its lease expires or its
line closes. Each host has its own socket here, so that no host can report for another.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import selectors
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..module_utils.dream_core import printable
from ..run import scratch
from ..run.events import Event, Notice, Progress, parse
from .inventory.hosts import InventoryHost

PREFIX = "dream-runner-fleet-"
#: Interval in seconds and number of unanswered keepalives after which a host is unreachable.
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 10, 3
#: A host that receives nothing for this long stops its modules.
LEASE_SECONDS = 60
_BEAT_SECONDS = 10.0
#: Longer lines are rejected: they are not progress.
_LINE_BYTES = 16 * 1024
_LISTEN_BACKLOG = 16
#: Limits per host: open lines at a time, and notices that are shown.
_MOST_LINES = 32
_MOST_NOTICES = 200
#: Upper limit of plausible byte counts.
_LARGEST = 2**62

#: Passed as a file (-F), because ssh passes only that option on to jump hosts.
_SSH_CONFIG = """\
StrictHostKeyChecking {}
Include ~/.ssh/config
Include /etc/ssh/ssh_config
"""


@dataclass(frozen=True)
class Wire:
    """The sockets of one host: the local path, and the paths on the host."""

    local: str
    lifeline: str
    blobs: str


class Wires:
    """The sockets of a fleet run, in a private directory that exists during the run.

    ``on_event`` receives the events of hosts, with the name of the host. Closing ends every
    module that has a line.
    """

    def __init__(
        self,
        hosts: Sequence[InventoryHost],
        on_event: Callable[[Event], None],
        *,
        accept_new_host_keys: bool = False,
    ) -> None:
        sweep()
        self._checking = "accept-new" if accept_new_host_keys else "yes"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.blobs = str(self.directory / "blobs.sock")
        #: Shared by the Ansible processes for the modules that they build.
        self.modules = self.directory / "modules"
        self.modules.mkdir(mode=0o700)
        self._config = self.directory / "ssh_config"
        self._config.write_text(_SSH_CONFIG.format(self._checking))
        self._hosts = {host.name: host for host in hosts}
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._closing = threading.Event()
        self._partial: dict[socket.socket, bytes] = {}
        self._owners: dict[socket.socket, str] = {}
        self._notices: Counter[str] = Counter()
        _raise_limit()
        self._wires = {host.name: self._wire(number, host) for number, host in enumerate(hosts)}
        for name, wire in self._wires.items():
            self._listen(name, wire.local)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _wire(self, number: int, host: InventoryHost) -> Wire:
        if host.is_here:
            path = str(self.directory / f"{number}.sock")
            return Wire(path, path, self.blobs)
        # The name on the host is random, so that no other user can create it first;
        # sshd makes the socket accessible to the login user only.
        remote = f"/tmp/dream-runner-{secrets.token_hex(12)}"  # noqa: S108
        local = str(self.directory / f"{number}.sock")
        return Wire(local, f"{remote}.life.sock", f"{remote}.blobs.sock")

    def __getitem__(self, name: str) -> Wire:
        return self._wires[name]

    def ssh_args(self, name: str) -> str:
        """Return the arguments of every ssh to the host. Ours come first: ssh uses the first.

        So no inventory can turn off the check of host keys.
        """
        options = [
            self.config_args(),
            "-o ControlMaster=auto",
            f"-o ControlPath={self.control_path(name)}",
            "-o ControlPersist=120s",
            f"-o ServerAliveInterval={_KEEPALIVE_SECONDS}",
            f"-o ServerAliveCountMax={_KEEPALIVE_COUNT}",
            "-o ExitOnForwardFailure=no",
            "-o ConnectTimeout=15",
        ]
        return " ".join([*options, self._said(name, "ansible_ssh_args")]).strip()

    def forwards(self, name: str) -> str:
        """Return the arguments that forward our sockets; sftp and scp lack this option."""
        wire = self._wires[name]
        options = [f"-R {wire.lifeline}:{wire.local}", f"-R {wire.blobs}:{self.blobs}"]
        return " ".join([*options, self._said(name, "ansible_ssh_extra_args")]).strip()

    def _said(self, name: str, variable: str) -> str:
        return self._hosts[name].connection.get(variable, "")

    def config_args(self) -> str:
        """Return the arguments that turn on the check of host keys, also for jump hosts."""
        return f"-F {self._config} -o StrictHostKeyChecking={self._checking}"

    def control_path(self, name: str) -> str:
        """Return the path of the shared connection's control socket."""
        return self._wires[name].local.replace(".sock", ".mux")

    def command(self, name: str, words: str) -> list[str] | None:
        """Return an ssh command that runs ``words`` over the open connection; None without one."""
        control = self.control_path(name)
        if not os.path.exists(control):
            return None
        return [*_over(control), "-T", "host", words]

    def close_connection(self, name: str) -> None:
        """Remove our sockets from the host and close the shared connection, if it is open."""
        wire, control = self._wires[name], self.control_path(name)
        if not os.path.exists(control):
            return
        remove = shlex.join(["rm", "-f", wire.lifeline, wire.blobs])
        for arguments in (["-n", "-T", "host", remove], ["-O", "exit", "host"]):
            # If the host is unreachable, its next run removes the sockets.
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [*_over(control), *arguments], capture_output=True, timeout=5, check=False
                )

    def close(self) -> None:
        """Close every line at once and remove the directory."""
        self.cut()
        shutil.rmtree(self.directory, ignore_errors=True)

    def cut(self) -> None:
        """Close every line at once, which ends all running modules on the hosts."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join(timeout=5)

    # --- one thread serves all lines --------------------------------------------

    def _listen(self, name: str, path: str) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(path)
        server.listen(_LISTEN_BACKLOG)
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ, (name, True))

    def _serve(self) -> None:
        beat = 0.0
        while not self._closing.is_set():
            for key, _ in self._selector.select(timeout=0.2):
                name, is_server = key.data
                connection: Any = key.fileobj
                if is_server:
                    self._accept(name, connection)
                else:
                    self._read(name, connection)
            if time.monotonic() - beat >= _BEAT_SECONDS:
                beat = time.monotonic()
                for connection in list(self._partial):
                    self._grant(connection)
        for key in list(self._selector.get_map().values()):
            item: Any = key.fileobj
            item.close()
        self._selector.close()

    def _accept(self, name: str, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            if sum(name == owner for owner in self._owners.values()) >= _MOST_LINES:
                connection.close()
                return
            connection.setblocking(False)
            self._owners[connection] = name
            self._partial[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ, (name, False))
            self._grant(connection)

    def _grant(self, connection: socket.socket) -> None:
        """Extend the lease. A host that does not read it loses it."""
        with contextlib.suppress(OSError):
            connection.send(json.dumps({"lease_seconds": LEASE_SECONDS}).encode() + b"\n")

    def _read(self, name: str, connection: socket.socket) -> None:
        try:
            data = connection.recv(_LINE_BYTES)
        except OSError:
            data = b""
        *lines, rest = (self._partial[connection] + data).split(b"\n")
        if not data or len(rest) > _LINE_BYTES:
            self._selector.unregister(connection)
            del self._partial[connection], self._owners[connection]
            connection.close()
            return
        self._partial[connection] = rest
        for line in lines:
            event = event_in(line, name)
            if isinstance(event, Notice):
                self._notices[name] += 1
            if event is not None and self._notices[name] <= _MOST_NOTICES:
                self._on_event(event)


def _over(control: str) -> list[str]:
    """Return an ssh command that uses the shared connection and cannot open a new one."""
    return ["ssh", "-o", f"ControlPath={control}", "-o", "ProxyCommand=false"]


def event_in(line: bytes, host: str) -> Event | None:
    """Return the event that ``host`` reports; None if it is not progress or a notice."""
    try:
        event = parse(json.loads(line))
    except (ValueError, RecursionError):
        return None
    if isinstance(event, Progress) and _is_sound(event):
        return replace(
            event,
            time=time.time(),
            host=host,
            phase=printable.line(event.phase),
            what=printable.line(event.what),
            note=printable.line(event.note),
        )
    if isinstance(event, Notice):
        level = event.level if event.level in ("info", "warning", "error") else "info"
        return Notice(time.time(), host, level, printable.line(event.text))
    return None


def _is_sound(event: Progress) -> bool:
    numbers = (event.done, event.total, event.rate)
    return all(isinstance(item, int | float) and 0 <= item < _LARGEST for item in numbers)


def _raise_limit() -> None:
    """Raise the limit of open files to the hard limit: each host needs a few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def sweep() -> None:
    """Remove the directories of fleet runs that were killed."""
    scratch.sweep(PREFIX)
