"""Debian packages of any release, unpacked without installing them and without a debootstrap.

apt does the work, with a configuration of its own: its lists, its status file (empty, so that the
closure is complete) and its cache lie in a temporary directory. This machine's apt is not touched.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

MIRROR = os.environ.get("DREAM_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

CONF = """\
Dir::State "{0}/state";
Dir::State::status "{0}/status";
Dir::Cache "{0}/cache";
Dir::Etc::sourcelist "{0}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{1}";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
// The clock of a test machine may be past what the archive promises.
Acquire::Check-Valid-Until "false";
"""


def architecture() -> str:
    return output(["dpkg", "--print-architecture"])


def download(work: Path, suite: str, names: Sequence[str], *, alone: bool = False) -> list[Path]:
    """Fetch ``names`` and all they depend on into ``work``; return the package files.

    ``alone``: without what they depend on.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
    conf = work / "apt.conf"
    conf.write_text(CONF.format(work, architecture()))
    environment = {**os.environ, "APT_CONFIG": str(conf), "LC_ALL": "C"}
    output(["apt-get", "-q", "update"], environment)
    archives = work / "cache" / "archives"
    if alone:
        output(["apt-get", "-q", "download", *names], environment, cwd=archives)
    else:
        output(["apt-get", "-q", "-y", "--download-only", "install", *names], environment)
    return sorted(archives.glob("*.deb"))


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpack package files over each other into ``root``, with Debian's links for /bin and /lib."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True
        ).stdout
        extract = ["tar", "-x", "--keep-directory-symlink", "-C", str(root)]
        subprocess.run(extract, input=archive, check=True)


def output(
    command: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run ``command``; its last lines are the error."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=900)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}:\n{tail}")
    return done.stdout.strip()
