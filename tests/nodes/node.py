"""A node: one running container, commands in it, its files before and after."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.nodes import image

from .podman import Podman

CHECKOUT = Path(__file__).resolve().parents[2]
HOMES = {"root": "/root", "sudoer": "/home/sudoer", "plain": "/home/plain"}

#: What a machine behind a company proxy needs inside, too; passed on only where it is set here.
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PASSED_ON = (
    *CERTIFICATES,
    "PIP_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)

#: The least that let an engine work inside, in the cgroup2 view. The volume, which goes with the
#: container, gives it a filesystem that overlay2 can lie on.
ENGINE_OPTIONS = (
    "--cap-add=SYS_ADMIN,NET_ADMIN",
    "--security-opt=unmask=ALL",
    "--security-opt=seccomp=unconfined",
    "--volume=/var/lib/docker",
    "--volume=/var/lib/containerd",
)

#: A PID 1 that is not systemd but buries its dead.
PLAIN_INIT = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]

_numbers = itertools.count(1)


@dataclass
class Result:
    """What a command in a node said, and its exit code."""

    command: str
    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}[exit {self.code}, {self.seconds:.1f} s]"

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Node:
    """A container; made by ``node()``, which also removes it."""

    name: str
    podman: Podman
    user: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> str:
        return HOMES[self.user]

    @property
    def checkout(self) -> str:
        return self.home + "/dream-runner-source"

    def run(
        self,
        *command: str,
        user: str = "",
        timeout: float = 600,
        env: dict[str, str] | None = None,
        input: str | None = None,
        cwd: str = "",
    ) -> Result:
        """Run ``command`` as the node's user, without a terminal; any exit code is a result."""
        user = user or self.user
        settings = {"HOME": HOMES[user], "USER": user, **self.env, **(env or {})}
        arguments = ["exec", "--user", user, "--workdir", cwd or HOMES[user]]
        if input is not None:
            arguments.append("-i")
        for key, value in settings.items():
            arguments += ["--env", f"{key}={value}"]
        started = time.monotonic()
        done = subprocess.run(
            self.podman.command(*arguments, self.name, *command),
            capture_output=True,
            timeout=timeout,
            input=None if input is None else input.encode(),
            stdin=subprocess.DEVNULL if input is None else None,
        )
        return Result(
            shlex.join(command),
            done.returncode,
            done.stdout.decode(errors="replace"),
            "\n".join(
                # Harmless, from podman in the private mount namespace; it is not the command's.
                line
                for line in done.stderr.decode(errors="replace").splitlines()
                if "failed to connect to syslog" not in line
            ),
            time.monotonic() - started,
        )

    def must(self, *command: str, **options: Any) -> Result:
        """Run ``command`` and expect exit code 0."""
        result = self.run(*command, **options)
        assert result.code == 0, str(result)
        return result

    def python(self, code: str, **options: Any) -> str:
        """Return what ``code`` prints when the node's own python3 runs it."""
        return self.must("python3", "-B", "-I", "-c", code, **options).out

    def copy_checkout(self, to: str = "") -> str:
        """Copy the working tree (tracked and new files) into the node, owned by its user."""
        target = to or self.checkout
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT,
            check=True,
            capture_output=True,
        ).stdout.split(b"\0")
        names = b"\0".join(n for n in listed if n and (CHECKOUT / os.fsdecode(n)).exists())
        archive = subprocess.run(
            ["tar", "-c", "--null", "--verbatim-files-from", "-T", "-"],
            cwd=CHECKOUT,
            input=names,
            check=True,
            capture_output=True,
        ).stdout
        script = 'mkdir -p "$0" && tar -x --no-same-owner -C "$0"'
        self.podman.run(
            "exec", "-i", "--user", self.user, self.name, "sh", "-c", script, target, input=archive
        )
        return target

    def copy_in(self, source: str | Path, target: str) -> str:
        """Copy one file of this machine to ``target``, owned by the node's user."""
        script = 'mkdir -p "$(dirname "$0")" && cat > "$0"'
        self.podman.run(
            *("exec", "-i", "--user", self.user, self.name, "sh", "-c", script, target),
            input=Path(source).read_bytes(),
        )
        return target

    def copy_tree(self, source: Path, target: str, *, exclude: str = "") -> str:
        """Copy a directory of this machine to ``target``, owned by the node's user."""
        leave_out = [f"--exclude={exclude}"] if exclude else []
        archive = subprocess.run(
            ["tar", "-c", "-C", str(source), *leave_out, "."], check=True, capture_output=True
        ).stdout
        script = 'mkdir -p "$0" && tar -x --no-same-owner -C "$0"'
        command = ["exec", "-i", "--user", self.user, self.name, "sh", "-c", script, target]
        self.podman.run(*command, input=archive)
        return target

    @property
    def address(self) -> str:
        """The address at which this machine reaches the node."""
        form = "{{.NetworkSettings.IPAddress}}"
        said = self.podman.run("inspect", "--format", form, self.name).stdout.decode().strip()
        assert said, f"{self.name} has no address"
        return said

    def install(self, *arguments: str, **options: Any) -> Result:
        """Run the README's command from the checkout in the node."""
        return self.run(
            "./install.sh", *arguments, cwd=options.pop("cwd", self.checkout), **options
        )

    def runner(self, *arguments: str, **options: Any) -> Result:
        """Run the installed ``dream-runner``."""
        return self.run(self.command, *arguments, **options)

    @property
    def command(self) -> str:
        """The path of the installed command, as install.sh links it."""
        folder = "/usr/local" if self.user == "root" else f"{self.home}/.local"
        return f"{folder}/bin/dream-runner"

    def listing(self, root: str = "/") -> dict[str, str]:
        """Return every path below ``root``: type, mode, owner, size, mtime, ctime, target."""
        skip = [f"{root.rstrip('/')}/{name}" for name in ("proc", "sys", "dev")]
        prune = " -o ".join(f"-path {shlex.quote(path)}" for path in skip)
        script = (
            f"find {shlex.quote(root)} \\( {prune} \\) -prune -o "
            r"-printf '%p\t%y %m %U:%G %s %T@ %C@ %l\0'"
        )
        lines = self.must("sh", "-c", script, user="root").out.split("\0")
        return dict(line.split("\t", 1) for line in lines if line)

    def processes(self) -> list[str]:
        """Return the command lines of everything that runs in the node."""
        return self.must("ps", "-eo", "pid=,user=,stat=,args=", user="root").out.splitlines()


@contextlib.contextmanager
def node(podman: Podman, *arguments: Any, name: str = "", **options: Any) -> Iterator[Node]:
    """A running node (see ``start``), removed at the end whatever happened."""
    name = name or f"dream-test-{os.getpid()}-{next(_numbers)}"
    podman.remember(name)
    try:
        yield start(podman, name, *arguments, **options)
    finally:
        remove(podman, name)


def start(
    podman: Podman,
    name: str,
    release: str = "12",
    systemd: bool = True,
    user: str = "root",
    options: Sequence[str] = (),
    kind: str = "bare",
    engine: bool = False,
) -> Node:
    """Start a node of Debian ``release``; whoever does it removes it.

    ``engine``: with the privileges that a container engine inside needs. ``kind``: bare, or with
    what ``images.nodes.KINDS`` adds.
    """
    arguments = ["run", "-d", "--name", name, "--hostname", name]
    arguments += [*environment_arguments(), *options, *(ENGINE_OPTIONS if engine else ())]
    if systemd:
        arguments += ["--systemd=always", image(release, podman, kind), "/sbin/init"]
    else:
        arguments += ["--systemd=false", image(release, podman, kind), *PLAIN_INIT]
    podman.run(*arguments)
    machine = Node(name, podman, user)
    if systemd:
        wait_until_booted(machine)
    return machine


def require_room_for(count: int) -> None:
    """Say at once what ``count`` nodes with systemd need of the kernel; each takes six to eight."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    needed = 8 * count
    if int(limit.read_text()) < needed:
        raise RuntimeError(
            f"{count} nodes need more inotify instances than this machine gives a user: "
            f"sysctl -w fs.inotify.max_user_instances={needed + 128}"
        )


def remove(podman: Podman, name: str) -> None:
    """Remove a node with its volumes; one that is not there is no error."""
    podman.run("rm", "-f", "-t", "0", "-v", "--ignore", name)


def environment() -> dict[str, str]:
    """Return what a node gets of this machine's environment."""
    return {key: os.environ[key] for key in PASSED_ON if os.environ.get(key)}


def environment_arguments() -> list[str]:
    """Return podman options that pass on certificates, index and proxies where they are set."""
    arguments = []
    for key, value in environment().items():
        arguments += ["--env", f"{key}={value}"]
    files = {os.environ[key] for key in CERTIFICATES if os.environ.get(key)}
    for path in sorted(files):
        arguments += ["-v", f"{path}:{path}:ro"]
    return arguments


def wait_until_booted(machine: Node, seconds: float = 60) -> None:
    """Wait for systemd to say running; ``degraded`` is a node with a defect."""
    deadline = time.monotonic() + seconds
    state = ""
    while time.monotonic() < deadline:
        state = machine.run("systemctl", "is-system-running", user="root").out.strip()
        if state == "running":
            return
        if state == "degraded":
            break
        time.sleep(0.3)
    failed = machine.run("systemctl", "--failed", "--no-legend", user="root").out
    raise RuntimeError(f"{machine.name} is {state or 'not up'} after {seconds} s: {failed}")
