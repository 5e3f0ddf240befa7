"""Node images: a bare Debian by debootstrap, or from a registry's base; kept in podman's store.

Their name holds the digest of their recipe, so that a changed recipe is a new image.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from nodes.podman import Podman

from .cache import digest
from .debian import MIRROR, output

RELEASES = {"12": "bookworm", "13": "trixie"}
PREFIX = "localhost/dream-runner-test/debian"

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

INSTALL = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install "$@"
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/*
"""

#: What a node may have beyond a bare one, where that is not what is being tested.
KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    # For whatever speaks SSH to a machine: molecule, fleets.
    "ssh": {"12": ("openssh-server",), "13": ("openssh-server",)},
    # The same, with what the native engine would otherwise have to bring from Debian first.
    "fleet": {"12": ("openssh-server", "libgomp1", "python3-venv")},
    "fleet-docker": {"13": ("openssh-server", "docker.io", "docker-cli", "docker-compose")},
    # A working engine. Debian 12 has no compose 2.
    "docker": {"13": ("docker.io", "docker-cli", "docker-compose")},
}


def image(release: str, podman: Podman, kind: str = "bare", base: str = "") -> str:
    """Return the image of Debian ``release``, made first if this recipe was never made.

    ``base`` is an image to start from instead of debootstrap, where there is a registry; unsaid
    it is DREAM_TEST_BASE, so that every node of a session starts from it.
    """
    base = (base or os.environ.get("DREAM_TEST_BASE", "")).format(release=release)
    recipe = digest(release, PACKAGES, SETUP, *((base, INSTALL) if base else ()))
    name = f"{PREFIX}:{release}-{recipe}"
    if not is_there(name, podman):
        if base:
            layer(base, name, podman, PACKAGES, SETUP)
        else:
            bootstrap(RELEASES[release], name, podman)
    if kind == "bare":
        return name
    packages = KINDS[kind][release]
    whole = f"{PREFIX}-{kind}:{release}-{digest(recipe, packages, INSTALL)}"
    if not is_there(whole, podman):
        layer(name, whole, podman, packages)
    return whole


def is_there(name: str, podman: Podman) -> bool:
    return not podman.run("image", "exists", name, check=False).returncode


def bootstrap(suite: str, name: str, podman: Podman) -> None:
    """Bootstrap ``suite`` in a temporary directory and import it as ``name``."""
    directory = tempfile.mkdtemp(prefix="dream-runner-image-", dir="/var/tmp")
    root = os.path.join(directory, "root")
    try:
        # usr/sbin: debootstrap is an administrator's tool, not on every PATH.
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        include = "--include=" + ",".join(PACKAGES)
        output(["debootstrap", "--variant=minbase", include, suite, root, MIRROR], environment)
        output(["chroot", root, "sh", "-c", SETUP], environment)
        archive = os.path.join(directory, "root.tar")
        output(["tar", "-C", root, "--exclude=./proc/*", "--exclude=./sys/*", "-cf", archive, "."])
        podman.run("import", "--change", 'CMD ["/sbin/init"]', archive, name, timeout=300)
    finally:
        shutil.rmtree(directory)


def layer(base: str, name: str, podman: Podman, packages: tuple[str, ...], setup: str = "") -> None:
    """Install ``packages`` over ``base``, run ``setup``, and keep it as ``name``."""
    container = f"dream-test-{os.getpid()}-layer-{Path(name).name.replace(':', '-')}"
    podman.remember(container)
    script = ["sh", "-c", INSTALL + setup, "install", *packages]
    try:
        podman.run("run", "--name", container, base, *script, timeout=900)
        podman.run("commit", "-q", "--change", 'CMD ["/sbin/init"]', container, name, timeout=300)
    finally:
        podman.run("rm", "-f", "-t", "0", "-v", "--ignore", container)
