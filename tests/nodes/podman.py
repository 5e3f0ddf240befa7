"""podman as this project's tests need it (recipe and reasons: docs/developer/testing.md).

Two things stand between a stock podman and a systemd node in a virtual machine: limits that a
root without CAP_SYS_RESOURCE cannot raise, and hybrid cgroups. The first is a containers.conf;
for the second, every podman call runs in a private mount namespace that shows a plain cgroup2
mount. The machine's own mounts stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

NAMESPACE_PREFIX = "dream-runner-podman-"

CONF = """\
[containers]
default_ulimits = ["nofile={nofile}:{nofile}", "nproc={nproc}:{nproc}"]
pids_limit = 0
[engine]
runtime = "runc"
events_logger = "file"
cgroup_manager = "cgroupfs"
[network]
network_backend = "netavark"
"""


class Podman:
    """One session's podman: its configuration, its mount namespace, its containers by name.

    With a ``directory`` it outlives this process: the next one that names it finds it as it is.
    """

    def __init__(self, directory: Path | None = None) -> None:
        clean_up_after_the_dead()
        self.directory = directory or Path(
            tempfile.mkdtemp(prefix=f"{NAMESPACE_PREFIX}{os.getpid()}-")
        )
        self.handle = self.directory / "ns" / "mnt"
        self.conf = self.directory / "containers.conf"
        self.wrapped = not is_cgroup2("/sys/fs/cgroup")
        if self.conf.exists():
            return
        nofile = min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        nproc = min(32768, int(Path("/proc/sys/kernel/pid_max").read_text()))
        self.directory.mkdir(exist_ok=True)
        if self.wrapped:
            self._make_namespace()
        # Last: where it is, all is.
        self.conf.write_text(CONF.format(nofile=nofile, nproc=nproc))

    def _make_namespace(self) -> None:
        directory = self.handle.parent
        directory.mkdir()
        run(["mount", "--bind", str(directory), str(directory)])
        run(["mount", "--make-private", str(directory)])
        self.handle.touch()
        view = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        run(["unshare", f"--mount={self.handle}", "sh", "-c", view])

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that is ``podman ARGUMENTS`` here."""
        return podman_in(self.directory, *arguments)

    def run(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = 120,
        input: bytes | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run podman; a failure shows what it said."""
        return run(self.command(*arguments), check=check, timeout=timeout, input=input)

    def remember(self, name: str) -> None:
        """Write down a container before it is made, for whoever has to clean up after us."""
        with (self.directory / "containers").open("a") as stream:
            stream.write(name + "\n")

    def close(self) -> None:
        """Take the mount namespace down."""
        if self.wrapped:
            release(self.handle)
        shutil.rmtree(self.directory)


def run(
    command: Sequence[str], check: bool = True, timeout: float = 60, input: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=timeout,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
    )
    if check and done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-4000:]
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done


def is_cgroup2(path: str) -> bool:
    return run(["stat", "-f", "-c", "%T", path]).stdout.strip() == b"cgroup2fs"


def is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def release(handle: Path) -> None:
    run(["umount", str(handle)])
    run(["umount", str(handle.parent)])


def podman_in(directory: Path, *arguments: str) -> list[str]:
    """Return the command line of the podman whose configuration and namespace lie in there."""
    handle = directory / "ns" / "mnt"
    prefix = ["nsenter", f"--mount={handle}"] if handle.exists() else []
    return [
        *prefix,
        "env",
        f"CONTAINERS_CONF={directory / 'containers.conf'}",
        "podman",
        *arguments,
    ]


def clean_up_after_the_dead() -> None:
    """Remove containers and mounts of test sessions that were killed.

    Through their own namespace: it is the one in which their networks are mounted. By name, not
    from ``podman ps``: that fails while another session has a container in a namespace of its own.
    """
    for directory in Path(tempfile.gettempdir()).glob(NAMESPACE_PREFIX + "*"):
        pid = int(directory.name.removeprefix(NAMESPACE_PREFIX).split("-")[0])
        if is_alive(pid):
            continue
        names = directory / "containers"
        for name in names.read_text().split() if names.exists() else ():
            run(podman_in(directory, "rm", "-f", "-t", "0", "-v", "--ignore", name), check=False)
        with contextlib.suppress(RuntimeError):
            release(directory / "ns" / "mnt")
        shutil.rmtree(directory, ignore_errors=True)


def missing_tools() -> list[str]:
    """Return what this machine lacks for nodes, as Debian packages."""
    tools = {
        "podman": "podman",
        "runc": "runc",
        "debootstrap": "debootstrap",
        "nsenter": "util-linux",
        "iptables": "iptables",
        "gpg": "gnupg",
        "ssh-keygen": "openssh-client",
    }
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [package for tool, package in tools.items() if not shutil.which(tool, path=path)]
