"""Read the images of a bundle from archives of ``docker save``; each is pinned by its id."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from ..module_utils.dream_core.document import TypedDict
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.fetch.faults import SourceFault
from ..module_utils.dream_core.fetch.sources.local import Joined
from ..module_utils.dream_core.types.compose import LockedImage
from .image_lock import place


def of_bundle(bundle: Path, wanted: Iterable[str]) -> dict[str, LockedImage]:
    """Return the lock entries of the images in ``bundle/images``, each with its id.

    Raises UsageError BUNDLE_IMAGES if none of them is in the catalogue.
    """
    known = {_full(tag): tag for tag in wanted}
    found: dict[str, LockedImage] = {}
    for archive in archives(bundle / "images"):
        for names, entry in _archived(archive, f"images/{archive.name}"):
            found |= {known[_full(name)]: entry for name in names if _full(name) in known}
    if not found:
        raise UsageError(
            f"{bundle / 'images'} contains no image from the catalogue",
            code="BUNDLE_IMAGES",
            where=str(bundle),
            hint="save them there with: docker save --output images/NAME.tar NAME:TAG",
        )
    return found


def _full(tag: str) -> tuple[str, str, str]:
    where = place(tag)
    return where.host, where.name, where.reference


def _archived(archive: Path, name: str) -> list[tuple[list[str], LockedImage]]:
    """Return ``(tags, entry)`` of every image in an archive of ``docker save``."""
    try:
        with Joined(str(archive)) as stream, tarfile.open(fileobj=stream) as tar:
            images = json.loads(_member(tar, "manifest.json"))
            return [(_names(tar, item), _entry(tar, item, name)) for item in images]
    except (OSError, SourceFault, tarfile.TarError, LookupError, ValueError, TypeError) as error:
        raise UsageError(
            f"{archive} is not an image archive: {error}",
            code="BUNDLE_IMAGES",
            where=str(archive),
            hint="create it with docker save, or with podman save --format docker-archive",
        ) from error


class Archived(TypedDict):
    """An image in the manifest of an archive, as written by docker save."""

    RepoTags: list[str] | None
    Config: str


def _names(tar: tarfile.TarFile, image: Archived) -> list[str]:
    """Return the names of an image; an archive of one image may have a name in its OCI index."""
    names = list(image["RepoTags"] or [])
    if _path(tar, "index.json"):
        tops = json.loads(_member(tar, "index.json"))["manifests"]
        if len(tops) == 1:
            name = tops[0].get("annotations", {}).get("org.opencontainers.image.ref.name", "")
            # docker writes the bare tag there.
            names += [name] if "/" in name else []
    return names


def _entry(tar: tarfile.TarFile, image: Archived, name: str) -> LockedImage:
    content = _member(tar, image["Config"])
    config = json.loads(content)
    entry: LockedImage = {
        "id": "sha256:" + hashlib.sha256(content).hexdigest(),
        "archive": name,
        "platforms": [f"{config['os']}/{config['architecture']}"],
    }
    if _path(tar, "index.json"):
        # An engine with containerd's image store identifies an image by its manifest.
        manifests = json.loads(_member(tar, "index.json"))["manifests"]
        for item in manifests:
            digest = str(item["digest"])
            blob = json.loads(_member(tar, "blobs/sha256/" + digest.removeprefix("sha256:")))
            if blob.get("config", {}).get("digest") == entry["id"]:
                entry["manifest"] = digest
    return entry


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    path = _path(tar, name)
    stream = tar.extractfile(path) if path else None
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream.read()


def _path(tar: tarfile.TarFile, name: str) -> str:
    """Return the name of a member in an archive, or an empty string."""
    present = tar.getnames()
    return next((path for path in (name, f"./{name}") if path in present), "")


def archives(folder: Path) -> list[Path]:
    """Return the archives in a folder by name; some may be split into parts."""
    whole = set(folder.glob("*.tar"))
    return sorted(whole | {path.with_suffix("") for path in folder.glob("*.tar.000")})
