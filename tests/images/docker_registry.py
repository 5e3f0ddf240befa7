"""A real container registry: Debian's docker-registry, filled by skopeo.

It speaks plain HTTP, which engines and dream-runner accept of 127.0.0.1 only. ``registry.py`` is
for what a real one cannot be told: to be busy, or to answer wrongly.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from nodes.node import Node

from . import archive, cache, debian

#: It needs nothing but libc, and this release's also runs in the nodes.
SUITE, PACKAGE = "bookworm", "docker-registry"
PROGRAM = f"usr/bin/{PACKAGE}"
UNIT = "test-registry"

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: '{address}', secret: of-the-tests}}
"""
_FOLDER = "/root/served/registry"


@functools.cache
def program() -> Path:
    """Return docker-registry, unpacked once. Kept in mind, as tests change HOME."""

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="dream-runner-registry-", dir="/var/tmp") as work:
            whole = Path(work) / "whole"
            packages = debian.download(Path(work), SUITE, (PACKAGE,), alone=True)
            debian.unpack(packages, whole)
            shutil.copy(whole / PROGRAM, target / PACKAGE)

    return cache.cached(f"{PACKAGE}-{cache.digest(SUITE, PACKAGE)}", make) / PACKAGE


def storage(images: Mapping[str, archive.Image]) -> Path:
    """Return what a registry keeps on disk of ``images``, by ``REPOSITORY:TAG``; pushed once."""
    digests = sorted((name, image.digest) for name, image in images.items())

    def make(target: Path) -> None:
        with serving(target) as place:
            for name, image in images.items():
                push(image, f"{place}/{name}")

    return cache.cached(f"registry-{cache.digest(SUITE, PACKAGE, digests)}", make)


def push(image: archive.Image, reference: str) -> None:
    """Copy an image into a registry of this machine, with its digest."""
    skopeo("copy", "--quiet", "--preserve-digests", f"oci:{image.layout}", f"docker://{reference}")


def skopeo(verb: str, *words: str) -> str:
    """Run skopeo without a policy, and without TLS as for 127.0.0.1; return what it says."""
    no_tls = {"copy": "--dest-tls-verify=false", "delete": "--tls-verify=false"}
    return debian.output(["skopeo", "--insecure-policy", verb, no_tls[verb], *words])


@contextlib.contextmanager
def serving(folder: Path, realm: str = "") -> Iterator[str]:
    """Run a registry over ``folder`` on a free port of 127.0.0.1; yield its address.

    ``realm``: where it sends who has no token. It takes any token.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="dream-runner-registry-") as work:
        config, log = Path(work) / "config.yml", Path(work) / "log"
        auth = f"auth: {{silly: {{realm: '{realm}', service: test}}}}\n" if realm else ""
        config.write_text(_CONFIG.format(folder=folder, address=address) + auth)
        with log.open("w") as stream:
            process = subprocess.Popen(
                [program(), "serve", config], stdout=stream, stderr=subprocess.STDOUT
            )
        try:
            _wait(int(address.rpartition(":")[2]), process, log)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def serve(machine: Node, images: Mapping[str, archive.Image], port: int) -> None:
    """Run a registry with ``images`` as a unit in a node, whose user is root."""
    machine.copy_in(program(), f"{_FOLDER}/{PACKAGE}")
    machine.must("chmod", "755", f"{_FOLDER}/{PACKAGE}")
    machine.copy_tree(storage(images), f"{_FOLDER}/data")
    config = _CONFIG.format(folder=f"{_FOLDER}/data", address=f"0.0.0.0:{port}")
    machine.must("sh", "-c", 'cat > "$0"', f"{_FOLDER}/config.yml", input=config)
    start = ["systemd-run", "--quiet", f"--unit={UNIT}", "--property=Restart=always"]
    machine.must(*start, f"{_FOLDER}/{PACKAGE}", "serve", f"{_FOLDER}/config.yml")
    ask = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/v2/', timeout=5)"
    machine.must("sh", "-c", _UNTIL_IT_ANSWERS, ask)


_UNTIL_IT_ANSWERS = """
for i in 1 2 3 4 5 6 7 8 9; do python3 -B -I -c "$0" 2>&1 && exit; sleep 0.5; done; exit 1
"""


def sent(machine: Node) -> int:
    """Return how many bytes of blobs and manifests have left the registry of a node."""
    log = machine.must("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}").out
    rows = (line.split('"') for line in log.splitlines() if '"GET /v2/' in line)
    found = [row[2].split() for row in rows]
    return sum(int(size) for status, size in found if status in ("200", "206"))
