"""A fleet of nodes for the tests: keys, passwords, a jump host, and the controller's command."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from e2e import stack as stacks
from nodes.node import CHECKOUT, Node, environment, require_room_for, wait_until_booted
from nodes.node import node as started_node
from nodes.podman import Podman

from dream_runner import catalog

#: Made for these tests; it must appear in no file that a run leaves.
PASSWORD = "correct horse battery 7f3a"
STATE = ".local/state/dream-runner"
#: The last native host installs to a filesystem of its own, so that it alone can be full.
SMALL, SMALL_MB = "/small", 900


@dataclass
class Done:
    """What a command of the controller said, and its exit code."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{self.out}\n{self.err}\n[exit {self.code}]"

    def json(self) -> Any:
        return json.loads(self.out)

    def states(self) -> dict[str, str]:
        """Return the state of each host."""
        return {host["host"]: host["state"] for host in self.json()["hosts"]}


@dataclass
class Lab:
    """Nodes by the names of the inventory, and a controller with a home of its own."""

    directory: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.yml"

    @property
    def key(self) -> Path:
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_options(self) -> str:
        return f"-o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes"

    @property
    def state(self) -> Path:
        return self.directory / "state" / "dream-runner" / "fleet"

    @property
    def native(self) -> list[str]:
        """Return the hosts of the native profile."""
        return [name for name in self.hosts if not name.startswith("full")]

    def install_dir(self, name: str) -> str:
        """Return where the host's install is, without ~."""
        said = str(self.hosts[name].get("dream_install_dir", "~/ai-server"))
        return said.replace("~", self.home(name))

    def digest(self, name: str, file: str) -> str:
        """Return the digest of one of the host's models, as a program there finds it."""
        path = f"{self.install_dir(name)}/data/models/{file}"
        return self.nodes[name].must("sha256sum", path, user="root").out.split()[0]

    def lose(self, name: str) -> None:
        """Take the host's power."""
        self.nodes[name].podman.run("kill", self.nodes[name].name)

    def give_power(self, name: str) -> None:
        """Start the host again; it may get another address."""
        node = self.nodes[name]
        node.podman.run("start", node.name)
        wait_until_booted(node)
        self.hosts[name]["ansible_host"] = node.address

    def forge_key(self, name: str, other: str) -> None:
        """Let the controller know the key of another host under this host's address."""
        address = str(self.hosts[name]["ansible_host"])
        forget = ["ssh-keygen", "-q", "-R", address, "-f", str(self.known_hosts)]
        subprocess.run(forget, check=True, capture_output=True)
        key = self.nodes[other].must("cat", "/etc/ssh/ssh_host_ed25519_key.pub", user="root").out
        with self.known_hosts.open("a") as stream:
            stream.write(f"{address} {' '.join(key.split()[:2])}\n")

    @contextlib.contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """Be in the host's network namespace; the block may take its link down."""
        node = self.nodes[name]
        route = node.must("ip", "route", "show", "default", user="root").out.split()
        yield
        self.inside(name, "ip", "link", "set", "eth0", "up")
        self.inside(name, "ip", "route", "replace", *route)

    def inside(self, name: str, *words: str) -> None:
        """Run a command of this machine in the host's network namespace."""
        node = self.nodes[name]
        said = node.podman.run("inspect", "--format", "{{.State.Pid}}", node.name)
        pid = said.stdout.decode().strip()
        subprocess.run(["nsenter", "-t", pid, "-n", *words], check=True, capture_output=True)

    def home(self, name: str) -> str:
        """Return the home of the host's login user."""
        user = self.hosts[name]["ansible_user"]
        return "/root" if user == "root" else f"/home/{user}"

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-B", "-m", "dream_runner", "fleet", *words]

    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"},
            "XDG_STATE_HOME": str(self.directory / "state"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "PYTHONPATH": str(CHECKOUT),
        }

    def run(
        self, verb: str, *words: str, timeout: float = 900, pass_fds: tuple[int, ...] = ()
    ) -> Done:
        """Run a verb over the whole inventory, without a terminal."""
        done = subprocess.run(
            self.command(verb, "-i", str(self.inventory), *words),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def started(self, verb: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Start a verb; its output goes to a file, and it has ended when the block has."""
        with (self.directory / "started.log").open("w") as stream:
            running = subprocess.Popen(
                self.command(verb, "-i", str(self.inventory), *words),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                text=True,
                start_new_session=True,
            )
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()
            running.wait(timeout=60)

    def write_inventory(self, **variables: Any) -> None:
        """Write the hosts as they are now; ``variables`` of all hosts stay until said anew."""
        self.variables |= variables
        shared = {
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": self.ssh_options,
            "dream_profile": "native",
            "dream_model": "smoke",
            **self.variables,
        }
        document = {"all": {"hosts": self.hosts, "vars": shared}}
        self.inventory.write_text(yaml.safe_dump(document, sort_keys=False))

    def receipts(self, name: str) -> list[str]:
        """Return the phases that the host has receipts of."""
        directory = f"{self.home(name)}/{STATE}/receipts"
        listed = self.nodes[name].run("ls", directory, user="root")
        return (
            [line.removesuffix(".json") for line in listed.out.split()] if not listed.code else []
        )

    def at_work(self, name: str) -> list[str]:
        """Return the processes on the host that work for an install; services are not meant."""
        # Modules come through a pipe: their Python has no program in its arguments.
        words = ("python3\n", "python\n", "pip install", "ensurepip")
        lines = (line + "\n" for line in self.nodes[name].processes())
        return [line for line in lines if any(word in line for word in words)]

    def sockets(self, name: str) -> str:
        """Return what our connections left on the host."""
        return self.nodes[name].run("sh", "-c", "ls -d /tmp/dream-runner-* 2>&1", user="root").out


def make(podman: Podman, stack: contextlib.ExitStack, directory: Path, count: int = 4) -> Lab:
    """Start ``count`` nodes: by key, by password, behind a jump host, as root, and again.

    Of twenty or more the last three have a container engine, for the full profile.
    """
    require_room_for(count)
    lab = Lab(directory)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(lab.key)], check=True)
    full = 3 if count >= 20 else 0

    def start(number: int) -> Node:
        options: dict[str, Any] = {"systemd": True, "user": "sudoer", "kind": "fleet"}
        if number >= count - full:
            options |= {"user": "root", "kind": "fleet-docker", "engine": True}
        elif number == count - full - 1:
            tmpfs = f"--tmpfs={SMALL}:size={SMALL_MB}m,mode=1777,exec"
            options["options"] = (tmpfs,)
        release = "13" if options.get("engine") else "12"
        return stack.enter_context(started_node(podman, release, **options))

    nodes = [start(number) for number in range(count)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(partial(_let_in, lab), nodes))
    for number, machine in enumerate(nodes[: count - full]):
        _add(lab, number, machine)
    lab.hosts[lab.native[-1]] |= {"dream_install_dir": f"{SMALL}/dream"}
    lab.hosts[lab.native[-1]] |= {"dream_disk_reserve_mb": 0}
    for number, machine in enumerate(nodes[count - full :]):
        _add_full(lab, f"full{number or ''}", machine)
    lab.write_inventory()
    return lab


def _let_in(lab: Lab, machine: Node) -> None:
    public = lab.key.with_suffix(".pub").read_text().strip()
    passed = "".join(f"{name}={value}\n" for name, value in environment().items())
    machine.must("sh", "-c", _SETUP, "setup", public, f"asker:{PASSWORD}", passed, user="root")


#: ``asker`` logs in with a password and sudo asks it again; the key opens root and sudoer.
_SETUP = r"""
set -eu
for home in /root /home/sudoer; do
    mkdir -p -m 0700 "$home/.ssh"
    echo "$1" > "$home/.ssh/authorized_keys"
    chown -R "$(stat -c %U "$home")" "$home/.ssh"
done
useradd --create-home --shell /bin/bash asker
echo "$2" | chpasswd
echo 'asker ALL=(ALL) ALL' > /etc/sudoers.d/asker
printf %s "$3" >> /etc/environment
# All nodes come from one image; a machine has a key of its own.
rm /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
systemctl restart ssh
"""


def _add(lab: Lab, number: int, machine: Node) -> None:
    """Give the node a name and a way to it, in turn: key, password, jump host, root."""
    kind = ("key", "password", "jump", "root")[number % 4]
    name = f"{kind}{number // 4 or ''}"
    host: dict[str, Any] = {"ansible_host": machine.address, "ansible_user": "sudoer"}
    if kind == "password":
        host["ansible_user"] = "asker"
        host["ansible_ssh_private_key_file"] = "/dev/null"
        host["ansible_password"] = PASSWORD
        host["ansible_become_password"] = PASSWORD
    if kind == "jump":
        known = lab.ssh_options
        way = f"ssh -i {lab.key} {known} -W %h:%p sudoer@{lab.nodes['key'].address}"
        host["ansible_ssh_common_args"] = f"{known} -o ProxyCommand='{way}'"
    if kind == "root":
        host["ansible_user"] = "root"
    lab.nodes[name], lab.hosts[name] = machine, host


def _add_full(lab: Lab, name: str, machine: Node) -> None:
    """Add a node with an engine; its images come from a registry inside it, by our lock."""
    images = stacks.serve_images(machine)
    lock = lab.directory / "state" / "dream-runner" / catalog.LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"schema": catalog.LOCK_SCHEMA, "images": images}))
    lab.nodes[name] = machine
    lab.hosts[name] = {
        "ansible_host": machine.address,
        "ansible_user": "root",
        "dream_profile": "full",
    }


class Garbage:
    """Answers every connection with nonsense; only this machine can reach it."""

    def __init__(self) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self.request.sendall(b"\x00\xff\x1b[2Jgarbage\r\n" * 2000)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Garbage:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Origin:
    """A server of one file that counts what it sends; only this machine can reach it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.sent = 0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                owner.sent += len(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/model.gguf"

    def __enter__(self) -> Origin:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def wait_for(what: str, test: Callable[[], object], seconds: float = 900) -> None:
    """Wait until ``test`` holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds} s"
        time.sleep(0.3)


def files_with(secret: str, root: Path) -> Iterator[Path]:
    """Yield the files below ``root`` that hold ``secret``."""
    for path in root.rglob("*"):
        if path.is_file() and secret.encode() in path.read_bytes():
            yield path
