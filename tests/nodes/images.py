"""Node images: debootstrap, then podman import; kept in podman's store between sessions."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .podman import Podman

RELEASES = {"12": "bookworm", "13": "trixie"}

#: A bare machine: python3, an init, and what any server install brings. No pip, no venv module,
#: no curl, no libgomp1: fetching those is the installer's work.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)

#: Users of every node: ``sudoer`` may do everything without a password, ``plain`` nothing.
SETUP = r"""
set -eu
useradd --create-home --shell /bin/bash sudoer
useradd --create-home --shell /bin/bash plain
echo 'sudoer ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/sudoer
chmod 0440 /etc/sudoers.d/sudoer
systemctl mask systemd-sysctl.service systemd-modules-load.service
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
"""


def image(release: str, podman: Podman) -> str:
    """Return the image of Debian ``release``, made first if this recipe was never made."""
    recipe = hashlib.sha256(repr((release, PACKAGES, SETUP)).encode()).hexdigest()[:12]
    name = f"localhost/dream-runner-test/debian:{release}-{recipe}"
    if podman.run("image", "exists", name, check=False).returncode:
        make(RELEASES[release], name, podman)
    return name


def make(suite: str, name: str, podman: Podman) -> None:
    """Bootstrap ``suite`` in a temporary directory and import it as ``name``."""
    directory = tempfile.mkdtemp(prefix="dream-runner-image-", dir="/var/tmp")
    root = os.path.join(directory, "root")
    try:
        # usr/sbin: debootstrap is an administrator's tool, not on every PATH.
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        checked(
            ["debootstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES), suite, root],
            env=environment,
        )
        checked(["chroot", root, "sh", "-c", SETUP], env=environment)
        archive = os.path.join(directory, "root.tar")
        checked(["tar", "-C", root, "--exclude=./proc/*", "--exclude=./sys/*", "-cf", archive, "."])
        podman.run("import", "--change", 'CMD ["/sbin/init"]', archive, name, timeout=300)
    finally:
        shutil.rmtree(directory)


def checked(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run ``command``; its last lines are the error."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}:\n{tail}")
