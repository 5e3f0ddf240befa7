"""The real compose, to ask it what it thinks of a project: no engine is needed for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import cache, debian

#: Debian 12 has no compose 2; that of Debian 13 is one file that runs anywhere.
SUITE, PACKAGE = "trixie", "docker-compose"
PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"


def program() -> str:
    """Return a compose 2 to run: this machine's plugin, else Debian's, unpacked once."""
    for path in ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins"):
        found = os.path.join(path, "docker-compose")
        if os.access(found, os.X_OK):
            return found
    found = shutil.which("docker-compose") or ""
    if found and _says(found).startswith(("2.", "v2.")):
        return found
    return str(cache.cached(f"compose-{cache.digest(SUITE, PACKAGE)}", _fetch) / "docker-compose")


def _says(path: str) -> str:
    done = subprocess.run([path, "version", "--short"], capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dream-runner-compose-", dir="/var/tmp") as work:
        whole = Path(work) / "whole"
        debian.unpack(debian.download(Path(work), SUITE, (PACKAGE,)), whole)
        shutil.copy(whole / PLUGIN, target / "docker-compose")
