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

LABEL = "dream-runner-test"
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
    """One session's podman: its configuration, its mount namespace, its containers by name."""

    def __init__(self) -> None:
        remove_namespaces_of_the_dead()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{NAMESPACE_PREFIX}{os.getpid()}-"))
        self.handle = self.directory / "ns" / "mnt"
        self.conf = self.directory / "containers.conf"
        nofile = min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        nproc = min(32768, int(Path("/proc/sys/kernel/pid_max").read_text()))
        self.conf.write_text(CONF.format(nofile=nofile, nproc=nproc))
        self.wrapped = not is_cgroup2("/sys/fs/cgroup")
        if self.wrapped:
            self._make_namespace()
        self.remove_containers_of_the_dead()

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
        prefix = ["nsenter", f"--mount={self.handle}"] if self.wrapped else []
        return [*prefix, "env", f"CONTAINERS_CONF={self.conf}", "podman", *arguments]

    def run(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = 120,
        input: bytes | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run podman; a failure shows what it said."""
        return run(self.command(*arguments), check=check, timeout=timeout, input=input)

    def remove_containers_of_the_dead(self) -> None:
        """Remove containers of test sessions that were killed; the name holds their pid."""
        listed = self.run("ps", "-a", "--filter", f"label={LABEL}", "--format", "{{.Names}}")
        for name in listed.stdout.decode().split():
            if not is_alive(int(name.split("-")[2])):
                self.run("rm", "-f", "-t", "0", "-v", name)

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


def remove_namespaces_of_the_dead() -> None:
    """Take down what killed sessions left mounted."""
    for directory in Path(tempfile.gettempdir()).glob(NAMESPACE_PREFIX + "*"):
        if is_alive(int(directory.name.removeprefix(NAMESPACE_PREFIX).split("-")[0])):
            continue
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
    }
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [package for tool, package in tools.items() if not shutil.which(tool, path=path)]
