"""A small bundle as ``create`` makes it, and the ways to break one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dream_runner.bundle import create
from dream_runner.bundle.parts import split

CONTENT = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(320))
MODEL = {
    "id": "tiny",
    "name": "Tiny",
    "files": [
        {
            "file": "tiny.gguf",
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "size_bytes": len(CONTENT),
            "urls": ["https://host.invalid/tiny.gguf"],
        }
    ],
}
DIGEST = str(MODEL["files"][0]["sha256"])  # type: ignore[index]
BLOB = f"blobs/sha256/{DIGEST}"


def wanted(root: Path, **more: Any) -> create.Wanted:
    given = {"tiers": ("2",), "models": (), "features": (), "pythons": ("3.11",), "arch": "amd64"}
    return create.Wanted(str(root), "full", **{**given, **more})


def make(root: Path, part_bytes: int = 0) -> Path:
    """Make a small bundle as ``create`` does, of files that need no network."""
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / BLOB).write_bytes(CONTENT)
    if part_bytes:
        split(root / BLOB, part_bytes)
    (root / "wheels").mkdir()
    (root / "wheels" / "one-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    (root / "debs").mkdir()
    (root / "debs" / "libx_1%3a2-3_amd64.deb").write_bytes(b"a package")
    create.seal(root, wanted(root), [MODEL], [])
    return root


def resum(root: Path, names: Callable[[str, str], str] = lambda name, digest: name) -> None:
    """Write the list anew, as somebody would who alters a bundle and is no fool."""
    lines = [
        line.split("  ", 1)
        for line in (root / "SHA256SUMS").read_text().splitlines()
        if (root / line.split("  ", 1)[1]).exists()
    ]
    text = ""
    for _, name in lines:
        digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
        text += f"{digest}  {names(name, digest)}\n"
    (root / "SHA256SUMS").write_text(text)


def flip(name: str, where: float) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        data = bytearray((root / name).read_bytes())
        data[int(where * (len(data) - 1))] ^= 0x10
        (root / name).write_bytes(bytes(data))

    return harm


def cut(name: str, share: float) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return harm


def listed(name: str) -> Callable[[Path], None]:
    """List a name as if it was in the bundle."""

    def harm(root: Path) -> None:
        with (root / "SHA256SUMS").open("a") as stream:
            stream.write(f"{'0' * 64}  {name}\n")

    return harm


def linked(name: str, target: str) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(target)

    return harm


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        document = json.loads((root / "bundle.json").read_text())
        change(document)
        (root / "bundle.json").write_text(json.dumps(document))
        resum(root)

    return harm


def exchanged(root: Path) -> None:
    (root / BLOB).write_bytes(bytes(reversed(CONTENT)))
    resum(root)


BAD: dict[str, Callable[[Path], None]] = {
    **{
        f"bit flipped in {name} at {where}": flip(name, where)
        for name in (BLOB, "wheels/one-1.0-py3-none-any.whl", "sbom.cdx.json", "bundle.json")
        for where in (0.0, 0.5, 1.0)
    },
    **{
        f"{name} cut to {share}": cut(name, share)
        for name in (BLOB, "debs/libx_1%3a2-3_amd64.deb", "bundle.json", "SHA256SUMS")
        for share in (0.0, 0.7)
    },
    **{
        f"listed: {name!r}": listed(name)
        for name in (
            *("../evil", "/etc/passwd", "wheels/../../evil", "a//b", "./x", "-x/../y", ".hidden"),
            *("wheels\\..\\evil", "C:evil", "a b", "a\tb", "wheels/", "x" * 10 + "/.."),
            *("WHEELS/one-1.0-py3-none-any.whl", "wheels/one-1.0-py3-none-any.whl"),
        )
    },
    "a link in place of a file": linked(BLOB, "/etc/passwd"),
    "a link in place of a directory": linked("wheels", "/tmp"),
    "a link to itself": linked("wheels/one-1.0-py3-none-any.whl", "one-1.0-py3-none-any.whl"),
    "the list is a link": linked("SHA256SUMS", "/etc/passwd"),
    "the manifest is a link": linked("bundle.json", "/etc/passwd"),
    "an additional link": linked("extra", "/etc"),
    "a file in no list": lambda root: (root / "extra").write_text("x") and None,  # type: ignore[dict-item]
    "a pipe": lambda root: os.mkfifo(root / "pipe"),
    "a model exchanged, and the list written anew": exchanged,
    "no list": lambda root: (root / "SHA256SUMS").unlink(),
    "no manifest": lambda root: (root / "bundle.json").unlink(),
    "another schema": manifest(lambda document: document.update(schema="x/9")),
    "a model that is not in it": manifest(
        lambda document: document["models"][0]["files"][0].update(sha256="1" * 64)
    ),
    "a digest that leads outside": manifest(
        lambda document: document["models"][0]["files"][0].update(sha256="../../etc/passwd")
    ),
    "other sizes": manifest(lambda document: document["sizes"].update({BLOB: 1})),
    "sizes of other files": manifest(lambda document: document["sizes"].update(x=1)),
    "no models": manifest(lambda document: document.pop("models")),
    "not an object": lambda root: (root / "bundle.json").write_text("[]") and resum(root),  # type: ignore[func-returns-value]
}
