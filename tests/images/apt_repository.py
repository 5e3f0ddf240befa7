"""A signed apt repository with Docker's names and layout, built from Debian's packages.

``linux/debian/{gpg,dists,pool}`` below one directory, plus ``fingerprint`` of its key. The engine
is that of Debian 13, which runs on 12 as well; only the names are Docker's. ``toolkit`` beside it
is flat, as NVIDIA's is, of the same key, and holds a stand-in for the container toolkit.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import cache, debian

SUITES = ("bookworm", "trixie")
#: Docker's name, and what it is made of: packages of which Debian release.
PACKAGES = {
    "docker-ce": ("trixie", ("docker.io",)),
    "docker-ce-cli": ("trixie", ("docker-cli",)),
    "docker-compose-plugin": ("trixie", ("docker-compose",)),
    # runc of 13 needs a newer libc than 12 has.
    "containerd.io": ("mixed", ("containerd", "runc")),
}
DEPENDS = {
    "docker-ce": "containerd.io, docker-ce-cli, iptables, adduser, libsystemd0",
    "docker-ce-cli": "",
    "docker-compose-plugin": "",
    "containerd.io": "libseccomp2",
}
#: Fields of a package that go with its old name.
_DROPPED = (
    "Package",
    "Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Replaces",
    "Conflicts",
    "Source",
)
#: NVIDIA's toolkit as far as the role needs one: no container here has such a card. The file of the
#: devices names the libraries of the driver that /run/driver-version says is loaded.
TOOLKIT = {
    "DEBIAN/control": """\
Package: nvidia-container-toolkit
Version: 1.17.8-1
Architecture: all
Maintainer: dream-runner tests <tests@example.org>
Description: stand-in for NVIDIA's container toolkit
""",
    "usr/bin/nvidia-container-runtime": '#!/bin/sh\nexec runc "$@"\n',
    "usr/bin/nvidia-ctk": """\
#!/bin/sh
set -eu
[ "$1 $2" = "cdi generate" ] || exit 2
output=${3#--output=}
mkdir -p "${output%/*}"
printf 'cdiVersion: 0.5.0\\nkind: nvidia.com/gpu\\ncontainerEdits:\\n  mounts:\\n' >"$output"
printf '  - {hostPath: /usr/lib/libcuda.so.%s}\\n' "$(cat /run/driver-version)" >>"$output"
echo "$*" >>/var/log/nvidia-ctk.log
""",
}
KEY = """\
%no-protection
Key-Type: RSA
Key-Length: 2048
Name-Real: dream-runner tests
Expire-Date: 0
"""


def docker() -> Path:
    """Return the directory of the repository, built the first time."""
    return cache.cached(
        f"docker-apt-{cache.digest(PACKAGES, DEPENDS, KEY, SUITES, TOOLKIT, 2)}", _make
    )


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dream-runner-apt-", dir="/var/tmp") as name:
        work = Path(name)
        sources = {
            "trixie": _by_name(
                work / "13", "trixie", ("docker.io", "docker-cli", "docker-compose")
            ),
            "bookworm": _by_name(work / "12", "bookworm", ("runc",)),
        }
        sources["mixed"] = {**sources["trixie"], "runc": sources["bookworm"]["runc"]}
        root = target / "linux" / "debian"
        pool = root / "pool"
        pool.mkdir(parents=True)
        for package, (release, parts) in PACKAGES.items():
            _repack(package, [sources[release][part] for part in parts], work / package, pool)
        home = work / "gpg"
        home.mkdir(mode=0o700)
        fingerprint = _make_key(home, root / "gpg")
        (target / "fingerprint").write_text(fingerprint + "\n")
        for suite in SUITES:
            write_lists(root, suite)
            sign(root / "dists" / suite, home)
        flat = target / "toolkit" / debian.architecture()
        flat.mkdir(parents=True)
        shutil.copy(root / "gpg", target / "toolkit" / "gpg")
        _make_toolkit(work / "toolkit", flat)
        write_flat_lists(flat)
        sign(flat, home)


def _by_name(work: Path, suite: str, names: tuple[str, ...]) -> dict[str, Path]:
    work.mkdir()
    return {path.name.split("_")[0]: path for path in debian.download(work, suite, names)}


def _repack(name: str, parts: list[Path], work: Path, pool: Path) -> None:
    """Unpack ``parts`` over each other and pack them as the package ``name``."""
    for part in parts:
        # The first part's scripts are the package's: they make the group and enable the unit.
        kept = work / "DEBIAN"
        before = work.with_suffix(".control")
        if kept.exists():
            kept.rename(before)
        debian.output(["dpkg-deb", "-R", str(part), str(work)])
        if before.exists():
            shutil.rmtree(kept)
            before.rename(kept)
    control = work / "DEBIAN" / "control"
    lines = re.sub(rf"(?m)^(?:{'|'.join(_DROPPED)}):.*\n(?: .*\n)*", "", control.read_text())
    depends = f"Depends: {DEPENDS[name]}\n" if DEPENDS[name] else ""
    control.write_text(f"Package: {name}\n{depends}{lines}")
    debian.output(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", str(work), str(pool)])


def _make_key(home: Path, public: Path) -> str:
    """Make a signing key in ``home``, put its public part at ``public``, return its fingerprint."""
    subprocess.run(
        _gpg(home, "--batch", "--generate-key"),
        input=KEY,
        text=True,
        check=True,
        capture_output=True,
    )
    shown = debian.output(_gpg(home, "--with-colons", "--fingerprint"))
    public.write_text(debian.output(_gpg(home, "--armor", "--export")) + "\n")
    _end_agent(home)
    return next(line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr:"))


def _end_agent(home: Path) -> None:
    """End the agent that gpg started for ``home``; by itself it stays as long as the directory."""
    debian.output(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"])


def _gpg(home: Path, *arguments: str) -> list[str]:
    return ["gpg", "--homedir", str(home), *arguments]


def write_lists(root: Path, suite: str) -> None:
    """Write Packages and Release of one suite for what lies in the pool."""
    folder = root / "dists" / suite
    architecture = debian.architecture()
    place = f"stable/binary-{architecture}"
    (folder / place).mkdir(parents=True, exist_ok=True)
    packages = [_entry(path, root) for path in sorted((root / "pool").glob("*.deb"))]
    lines = [f"Suite: {suite}", f"Codename: {suite}", "Components: stable"]
    lines.append(f"Architectures: {architecture}")
    _write_release(folder, f"{place}/Packages", packages, lines)


def write_flat_lists(root: Path) -> None:
    """Write the same for a repository that is not divided: all of it in one directory."""
    packages = [_entry(path, root) for path in sorted(root.glob("*.deb"))]
    _write_release(root, "Packages", packages, [])


def _write_release(folder: Path, name: str, packages: list[str], lines: list[str]) -> None:
    text = "".join(packages)
    (folder / name).write_text(text)
    (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    lines = [*lines, "Date: Thu, 01 Jan 2026 00:00:00 UTC", "SHA256:"]
    for listed in (name, f"{name}.gz"):
        content = (folder / listed).read_bytes()
        lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {listed}")
    (folder / "Release").write_text("\n".join([*lines, ""]))


def _make_toolkit(work: Path, target: Path) -> None:
    """Pack the stand-in: a runtime that is runc, and a program that describes the devices."""
    for name, text in TOOLKIT.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.startswith("usr/bin/") else 0o644)
    debian.output(["dpkg-deb", "--root-owner-group", "-b", str(work), str(target)])


def _entry(package: Path, root: Path) -> str:
    content = package.read_bytes()
    return (
        debian.output(["dpkg-deb", "-f", str(package)])
        + f"\nFilename: {package.relative_to(root)}\nSize: {len(content)}"
        + f"\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"
    )


def sign(folder: Path, home: Path) -> None:
    """Put the signed Release in the place of the plain one."""
    plain, signed = str(folder / "Release"), str(folder / "InRelease")
    debian.output(_gpg(home, "--batch", "--yes", "--clearsign", "--output", signed, plain))
    _end_agent(home)
    os.unlink(plain)
