"""Write a container image from a directory, without an engine, the same bytes each time.

The result is an OCI layout that also carries the older ``manifest.json``, as docker itself saves
since version 25: ``tar`` of it goes into any ``docker load``, and ``registry.py`` serves it for a
``docker pull`` by digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: One instant for everything, so that the digest depends on the content only.
EPOCH = 1_700_000_000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Image:
    """An image in a directory: ``layout/`` for the registry and ``image.tar`` for ``load``."""

    directory: Path

    @property
    def tar(self) -> Path:
        """The file that ``docker load`` takes; written when it is first asked for."""
        path = self.directory / "image.tar"
        if not path.exists():
            work = path.with_suffix(f".{os.getpid()}")
            with tarfile.open(work, "w", format=tarfile.GNU_FORMAT) as stream:
                _add(stream, self.layout, ".")
            work.rename(path)
        return path

    @property
    def layout(self) -> Path:
        return self.directory / "layout"

    @property
    def digest(self) -> str:
        """What ``docker pull NAME@DIGEST`` asks for."""
        index = json.loads((self.layout / "index.json").read_text())
        return str(index["manifests"][0]["digest"])

    @property
    def id(self) -> str:
        """What ``docker image ls`` shows as the image's id."""
        manifest = json.loads((self.layout / "manifest.json").read_text())
        return "sha256:" + Path(manifest[0]["Config"]).name

    @property
    def reference(self) -> str:
        """The name it gets from ``docker load``."""
        manifest = json.loads((self.layout / "manifest.json").read_text())
        return str(manifest[0]["RepoTags"][0])


def pack(root: Path, packed: Path) -> None:
    """Write ``root`` as a layer; images that differ only in their configuration share it."""
    with tarfile.open(packed, "w", format=tarfile.GNU_FORMAT) as stream:
        _add(stream, root, ".")


def write(
    target: Path,
    root: Path,
    reference: str,
    architecture: str,
    config: dict[str, Any],
    packed: Path | None = None,
) -> None:
    """Write the image of ``root`` called ``reference`` into ``target``.

    ``packed``: the layer of ``root`` on the same filesystem, if it was written before.
    """
    layout = target / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    if packed is None:
        packed = target / "layer.tar"
        pack(root, packed)
    layer = _descriptor(packed.read_bytes(), LAYER)
    os.link(packed, blobs / layer["digest"].removeprefix("sha256:"))
    (target / "layer.tar").unlink(missing_ok=True)
    settings = _blob(
        blobs,
        CONFIG,
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2023-11-14T22:13:20Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
            "history": [{"created": "2023-11-14T22:13:20Z", "comment": "dream-runner tests"}],
        },
    )
    manifest = _blob(
        blobs,
        MANIFEST,
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": settings, "layers": [layer]},
    )
    named = dict(manifest, annotations={"io.containerd.image.name": reference})
    _json(layout / "oci-layout", {"imageLayoutVersion": "1.0.0"})
    _json(layout / "index.json", {"schemaVersion": 2, "manifests": [named]})
    _json(
        layout / "manifest.json",
        [
            {
                "Config": _path(settings),
                "RepoTags": [reference],
                "Layers": [_path(layer)],
            }
        ],
    )


def _add(stream: tarfile.TarFile, root: Path, name: str) -> None:
    """Add ``root`` in order of names, owned by root, at one time."""
    path = root / name
    item = stream.gettarinfo(path, arcname=name)
    item.uid = item.gid = 0
    item.uname = item.gname = ""
    item.mtime = EPOCH
    if item.isreg():
        with path.open("rb") as content:
            stream.addfile(item, content)
        return
    if name != ".":
        stream.addfile(item)
    if item.isdir():
        for child in sorted(entry.name for entry in path.iterdir()):
            _add(stream, root, child if name == "." else f"{name}/{child}")


def _blob(blobs: Path, kind: str, document: dict[str, Any]) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True).encode()
    descriptor = _descriptor(content, kind)
    (blobs / descriptor["digest"].removeprefix("sha256:")).write_bytes(content)
    return descriptor


def _descriptor(content: bytes, kind: str) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _path(descriptor: dict[str, Any]) -> str:
    return "blobs/sha256/" + str(descriptor["digest"]).removeprefix("sha256:")


def _json(path: Path, document: dict[str, Any] | Sequence[Any]) -> None:
    path.write_text(json.dumps(document, sort_keys=True))
