"""Copy the container images of a bundle by digest with skopeo, which needs no engine.

Each image becomes an OCI layout in one file, with unchanged manifest and blobs, so that their
digests stay valid. The file also contains the older ``manifest.json``, because engines
before version 25 cannot load an OCI layout.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any

from ..catalog import Catalog
from ..decide.services import service_selection
from ..module_utils.dream_core.containers.references import name_of
from ..module_utils.dream_core.errors import IntegrityError, NetworkError
from ..module_utils.dream_core.system.filesystems import parts_of
from ..module_utils.dream_core.types.choice import HelperModel
from ..module_utils.dream_core.types.compose import Locked, LockedImage, Service
from .parts import split

_SECONDS = 3600
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def needed(
    loaded: Catalog, tiers: Collection[str], features: Collection[str], arch: str
) -> list[str]:
    """Return the image tags for these tiers and features (none given: all)."""
    return sorted(
        {
            tag
            for service, backend in _running(loaded, tiers, features, arch)
            for tag in _tags(service, backend)
        }
    )


def helpers(
    loaded: Catalog, tiers: Collection[str], features: Collection[str], arch: str
) -> list[HelperModel]:
    """Return the helper models for these tiers and features."""
    read = {
        name
        for service, _ in _running(loaded, tiers, features, arch)
        for name in service.get("models", ())
    }
    return [item for item in loaded.models.get("helpers", ()) if item["id"] in read]


def _running(
    loaded: Catalog, tiers: Collection[str], features: Collection[str], arch: str
) -> Iterator[tuple[Service, str]]:
    """Yield each service that may run, with each of its supported backends."""
    known = {item["id"]: item for item in loaded.services["services"]}
    known_features = loaded.features["features"]
    names = set(features or known_features)
    names.update(*(known_features[name].get("requires", ()) for name in names))
    wanted = service_selection.unasked(known, loaded.features)
    wanted += [item["id"] for name in names for item in known_features[name]["services"]]
    rules = loaded.tiers["rules"]
    for backend in {str(rule["backend"]) for rule in rules if not tiers or rule["tier"] in tiers}:
        able = {
            name
            for name, item in known.items()
            if not service_selection.obstacle(item, {"arch": arch}, backend)
        }
        for name in service_selection.with_needs(wanted, known, able):
            yield known[name], backend


def _tags(service: Service, backend: str) -> set[str]:
    """Return the images of a service on a backend, including those that a setting can select."""
    variants = service.get("variants") or {}
    found = {variants.get(backend, {}).get("image", service["image"])}
    return found | {
        item["image"]
        for name, item in variants.items()
        if name.startswith(f"{backend}_") and "image" in item
    }


def fetch(
    target: Path,
    locked: Locked,
    arch: str,
    part_bytes: int,
    report: Callable[[str], None],
) -> None:
    """Copy every image that is pinned by digest into ``target``, one archive for each.

    Existing archives are not copied again: an archive gets its final name when it is complete.
    Images that are left out are reported with the reason. ``part_bytes`` is the maximum file size.
    Raises NetworkError IMAGE_COPY, or IntegrityError IMAGE_DIGEST if a registry returned
    another image.
    """
    wanted = {tag: entry for tag, entry in locked.items() if entry.get("digest")}
    if wanted and not shutil.which("skopeo"):
        report("no container images are included: this host has no skopeo")
        return
    for left in (*target.glob("*.part"), *target.glob("*.work")):
        _drop(left)  # Left over from a killed run.
    for tag, entry in sorted(wanted.items()):
        path = target / file_name(tag)
        if not os.path.exists(parts_of(str(path))[0]):
            report(f"image {tag}")
            _copy(tag, entry, arch, path)
        if path.exists():
            split(path, part_bytes)


def file_name(tag: str) -> str:
    """Return the name of a tag's archive, with characters that every filesystem allows."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", tag) + ".tar"


def _copy(tag: str, entry: LockedImage, arch: str, path: Path) -> None:
    source = f"{entry.get('from') or name_of(tag)}@{entry['digest']}"
    blobs, packed = path.with_suffix(".work"), path.with_suffix(".part")
    command = ["skopeo", "--override-os", "linux", "--override-arch", arch, "copy", "--quiet"]
    if source.split("/")[0].split(":")[0] in ("127.0.0.1", "localhost"):
        # TLS is required except on this machine, as for the lock.
        command.append("--src-tls-verify=false")
    command += ["--preserve-digests", f"docker://{source}", f"dir:{blobs}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        said = (done.stderr.strip().splitlines() or ["skopeo failed"])[-1][-300:]
        if done.returncode == 0:
            _pack(blobs, tag, packed)
            packed.replace(path)
            return
    except subprocess.TimeoutExpired:
        said = f"no result within {_SECONDS} s"
    finally:
        _drop(blobs)
        _drop(packed)
    raise _error(tag, said)


def _drop(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _pack(blobs: Path, tag: str, target: Path) -> None:
    """Write the output of skopeo as one archive; the same image gives the same bytes."""
    content = (blobs / "manifest.json").read_bytes()
    manifest = json.loads(content)
    digest = hashlib.sha256(content).hexdigest()
    names = [str(item["digest"]) for item in (manifest["config"], *manifest["layers"])]
    top = {
        "mediaType": manifest.get("mediaType", _OCI_MANIFEST),
        "digest": f"sha256:{digest}",
        "size": len(content),
        "annotations": {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": tag},
    }
    config, *layers = map(_place, names)
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        _add_json(tar, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        _add_json(tar, "index.json", {"schemaVersion": 2, "manifests": [top]})
        loaded = {"Config": config, "RepoTags": [_loadable(tag)], "Layers": layers}
        _add_json(tar, "manifest.json", [loaded])
        _add(tar, f"blobs/sha256/{digest}", io.BytesIO(content), len(content))
        # A layer that occurs twice, for example an empty one, is one blob.
        for name in dict.fromkeys(names):
            blob = blobs / name.removeprefix("sha256:")
            with blob.open("rb") as stream:
                _add(tar, _place(name), stream, blob.stat().st_size)


def _loadable(tag: str) -> str:
    """Return a name that an engine accepts; for an image with a digest, a similar one."""
    name, _, digest = tag.partition("@")
    return f"{name_of(name)}:{digest.replace(':', '-')[:19]}" if digest else tag


def _place(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _add_json(tar: tarfile.TarFile, name: str, document: Any) -> None:
    content = json.dumps(document, sort_keys=True).encode()
    _add(tar, name, io.BytesIO(content), len(content))


def _add(tar: tarfile.TarFile, name: str, stream: IO[bytes], size: int) -> None:
    item = tarfile.TarInfo(name)
    item.size = size
    tar.addfile(item, stream)


def _error(tag: str, said: str) -> IntegrityError | NetworkError:
    if "digest" in said.lower() and _DIGEST.search(said):
        return IntegrityError(
            f"the registry returned another image than the pinned {tag}: {said}",
            code="IMAGE_DIGEST",
            hint="check the registry or proxy; 'dream-runner lock' looks up the current digests",
        )
    return NetworkError(
        f"the image {tag} could not be copied: {said}",
        code="IMAGE_COPY",
        hint="run the same command again to continue; copied images are kept",
    )
