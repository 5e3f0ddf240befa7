"""Create a bundle. It can be continued: existing verified files are not downloaded again.

``SHA256SUMS`` is written last. Until then, the directory is incomplete, and the next run
continues where this one stopped.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import catalog, install_preview, paths
from ..catalog import image_archives
from ..catalog.entries import ModelEntry, Models
from ..catalog.image_archives import of_bundle
from ..decide import fast_start, models
from ..module_utils.dream_core.bundle import contents
from ..module_utils.dream_core.errors import DiskError, UsageError
from ..module_utils.dream_core.fetch import wheel_lock, wheelhouse
from ..module_utils.dream_core.fetch.fetcher import fetch
from ..module_utils.dream_core.fetch.request import FetchRequest, Network, Progress
from ..module_utils.dream_core.files import json_file
from ..module_utils.dream_core.files.hashing import hash_files
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.system import atomic
from ..module_utils.dream_core.system.filesystems import parts_of
from ..module_utils.dream_core.types.choice import HelperModel, ModelFile
from ..module_utils.dream_core.types.compose import Locked, LockedImage
from ..version import __version__
from . import images, packages, sbom
from .parts import PART_BYTES, split

_WORK = ".work"
#: The feature of the native profile that is an application; the others are of containers.
WEBUI = "webui"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to bundle. ``sign`` is the path of a private key of ssh-keygen, or empty."""

    directory: str
    profile: str
    tiers: tuple[str, ...]
    models: tuple[str, ...]
    features: tuple[str, ...]
    pythons: tuple[str, ...]
    arch: str
    part_bytes: int = PART_BYTES
    sign: str = ""


def create(
    wanted: Wanted,
    environment: Mapping[str, str],
    report: Report,
    on_progress: Callable[[Progress], None] | None = None,
) -> contents.Bundle:
    """Create or complete the bundle; check and return its manifest. Raises DreamError."""
    network_env.require(environment)
    if WEBUI in wanted.features and wanted.profile != "native":
        raise UsageError(
            "the full profile has Open WebUI in a container",
            code="BUNDLE_FEATURE",
            hint="leave --feature webui out, or use --profile native",
        )
    root = _directory(wanted.directory)
    loaded = catalog.load()
    chosen = choose(wanted, loaded.models)
    if wanted.profile == "full":
        chosen += images.helpers(loaded, wanted.tiers, wanted.features, wanted.arch)
    (root / contents.SUMS).unlink(missing_ok=True)
    (root / contents.SIGNATURE).unlink(missing_ok=True)
    for model in chosen:
        for item in model["files"]:
            report(f"model {model['name']}: {item['file']}")
            fetch_model(root, item, wanted.part_bytes, environment, on_progress)
    report("Python packages")
    packages.fetch_wheels(_made(root, "wheels"), wanted.pythons, wanted.arch, environment)
    if WEBUI in wanted.features:
        report("Open WebUI")
        stamps = _made(_made(root, _WORK), "stamps")
        for python in wanted.pythons:
            found = loaded.webui.of(wheel_lock.target_of(loaded.webui, python, wanted.arch))
            network = Network.from_environment(environment)
            places = wheelhouse.Places(network, stamps_dir=str(stamps))
            wheelhouse.fetch_all(
                found, str(root / "wheels"), places, on_progress or _silent, is_shared=True
            )
    packages.make_own_wheel(_made(root, "runner"), environment)
    report("Debian packages")
    engine: list[str] = []
    if wanted.profile == "full" and shutil.which("apt-get"):
        engine, notes = packages.engine_debs(install_preview.host()["os"])
        for note in notes:
            report(note)
    for note in packages.fetch_debs(_made(root, "debs"), engine):
        report(note)
    if wanted.profile == "full":
        report("Container images")
        locked = pinned_images(loaded, wanted, report)
        images.fetch(_made(root, "images"), locked, wanted.arch, wanted.part_bytes, report)
    _copy_program(root)
    tags = {*loaded.images["images"], *catalog.image_tags(loaded.services)}
    _write_lock(root, sorted(tags))
    shutil.rmtree(root / _WORK, ignore_errors=True)
    seal(root, wanted, chosen, archived_images(root, loaded.images["images"]))
    if wanted.sign:
        contents.sign(str(root), wanted.sign)
    return contents.inspect(str(root))


def _silent(_: Progress) -> None:
    pass


def pinned_images(
    loaded: catalog.Catalog, wanted: Wanted, report: Report
) -> dict[str, LockedImage]:
    """Return the pins of the required images; report those without a pin."""
    known = loaded.images["images"]
    needed = images.needed(loaded, wanted.tiers, wanted.features, wanted.arch)
    for tag in needed:
        if tag not in known:
            report(f"image {tag} is left out: it is not pinned (run 'dream-runner lock {tag}')")
    return {tag: known[tag] for tag in needed if tag in known}


def choose(wanted: Wanted, models_catalog: Models) -> list[ModelEntry | HelperModel]:
    """Return the models of the given tiers and ids; the native profile also gets the small one."""
    ids = list(wanted.models)
    for tier in wanted.tiers:
        if tier not in models_catalog["tiers"]:
            raise UsageError(
                f"there is no tier {tier!r}",
                code="UNKNOWN_TIER",
                hint=f"use one of {', '.join(models_catalog['tiers'])}",
            )
        ids += models_catalog["tiers"][tier]["models"]
    if not ids or wanted.profile == "native":
        ids.append(fast_start.small_id(models_catalog))
    return [models.find_model(models_catalog, name) for name in dict.fromkeys(ids)]


def _directory(path: str) -> Path:
    root = Path(path).expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        names = {item.name for item in root.iterdir()}
    except OSError as error:
        raise atomic.translate(error, str(root)) from error
    ours = {
        contents.MANIFEST,
        contents.SUMS,
        contents.SIGNATURE,
        "blobs",
        "wheels",
        "debs",
        "runner",
    }
    ours |= {"catalog", "images", "sbom.cdx.json", "README.txt", _WORK}
    if names - ours:
        raise UsageError(
            f"{root} contains other files: {', '.join(sorted(names - ours)[:3])}",
            code="BUNDLE_DIRECTORY",
            hint="use an empty or new directory, or one with an incomplete bundle",
        )
    return root


def _made(root: Path, name: str) -> Path:
    path = root / name
    path.mkdir(exist_ok=True)
    return path


def fetch_model(
    root: Path,
    item: ModelFile,
    part_bytes: int,
    environment: Mapping[str, str],
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Fetch a model file unless the bundle has it, whole or in parts. Raises DreamError."""
    target = root / contents.blob(item["sha256"])
    target.parent.mkdir(parents=True, exist_ok=True)
    # Parts beside a whole file are left over from a killed split, which writes them again.
    parts = [] if target.exists() else parts_of(str(target))
    if len(parts) > 1 and _digest(parts) == item["sha256"]:
        return
    request = FetchRequest(
        path=str(target),
        sha256=item["sha256"],
        sources=tuple(_source(url) for url in item["urls"]),
        size_bytes=item.get("size_bytes") or 0,
        stamps_dir=str(root / _WORK / "stamps"),
        network=Network.from_environment(environment),
    )
    (root / _WORK / "stamps").mkdir(parents=True, exist_ok=True)
    fetch(request, on_progress)
    split(target, part_bytes)


def _source(url: str) -> str:
    if url.startswith("package:"):
        return "file://" + str(paths.catalog() / url.removeprefix("package:"))
    return url


def _copy_program(root: Path) -> None:
    """Copy the catalogue and install.sh into the bundle, and write its README."""
    target = _made(root, "catalog")
    for path in sorted(paths.catalog().glob("*.y*ml")):
        shutil.copyfile(path, target / path.name)
    shutil.copyfile(paths.content() / "install.sh", _made(root, "runner") / "install.sh")
    venv = " ".join(f"$B/debs/{path.name}" for path in packages.venv_debs(root / "debs"))
    text = _README + (_README_DEBS.format(debs=venv) if venv else "")
    (root / "README.txt").write_text(text)


def _write_lock(root: Path, tags: Sequence[str]) -> None:
    """Write the lock for a target: each image by the id in its archive."""
    target = root / "catalog" / catalog.LOCK
    target.unlink(missing_ok=True)
    if image_archives.archives(root / "images"):
        document = {"schema": catalog.LOCK_SCHEMA, "images": of_bundle(root, tags)}
        json_file.write_json(str(target), document, 0o644)


_README = """\
This is a dream-runner bundle. It contains everything for an install without a network.

To verify it (this needs only coreutils):

    cd THIS_DIRECTORY && sha256sum --quiet -c SHA256SUMS

To install from it (this needs Python 3.11 or newer with the module venv):

    B=THIS_DIRECTORY
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$B/wheels DREAM_RUNNER_SOURCE=$(echo $B/runner/*.whl) \\
        sh $B/runner/install.sh --offline --bundle $B

For the profile full, copy the digests of the images first:

    mkdir -p -m 700 ~/.local/state/dream-runner
    cp $B/catalog/images.lock.json ~/.local/state/dream-runner/
"""

#: Added to the README if the bundle has the packages; the names are those of files in ``debs``.
_README_DEBS = """\

Debian has no venv by default. Install its packages first, as root, from these files. The
install then takes all other packages from the bundle itself.

    O="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null"
    apt-get install -y $O {debs}
"""


def archived_images(root: Path, locked: Locked) -> list[dict[str, str]]:
    """Return the image archives in the bundle that are in the lock."""
    found = []
    for tag, entry in sorted(locked.items()):
        archive = entry.get("archive") or f"images/{images.file_name(tag)}"
        lying = parts_of(str(root / archive))
        if os.path.isfile(lying[0]):
            item = {"tag": tag, "archive": archive, "digest": entry.get("id") or entry["digest"]}
            # For a single file, the digest is in SHA256SUMS.
            found.append(item if len(lying) == 1 else {**item, "sha256": _digest(lying)})
    return found


def seal(
    root: Path,
    wanted: Wanted,
    chosen: Sequence[ModelEntry | HelperModel],
    archives: list[dict[str, str]],
) -> None:
    """Write the manifest, the bill of materials and, last, the list of digests."""
    sums = {name: _digest([str(root / name)]) for name in _files(root)}
    manifest = {
        "schema": contents.SCHEMA,
        "version": __version__,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "profile": wanted.profile,
        "tiers": list(wanted.tiers),
        "features": list(wanted.features),
        "pythons": list(wanted.pythons),
        "arch": wanted.arch,
        "models": [
            {
                "id": model["id"],
                "name": model["name"],
                "files": [
                    {key: item.get(key) for key in ("file", "sha256", "size_bytes", "urls")}
                    for item in model["files"]
                ],
            }
            for model in chosen
        ],
        "wheels": [name for name in sums if name.startswith(("wheels/", "runner/dream_runner-"))],
        "debs": [name for name in sums if name.startswith("debs/")],
        "images": archives,
    }
    _write(root, sums, "sbom.cdx.json", sbom.document(manifest, sums))
    sizes = {name: (root / name).stat().st_size for name in sums}
    _write(root, sums, contents.MANIFEST, {**manifest, "sizes": sizes})
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    atomic.write_bytes(str(root / contents.SUMS), lines.encode(), 0o644)


def _write(root: Path, sums: dict[str, str], name: str, document: Any) -> None:
    json_file.write_json(str(root / name), document, 0o644)
    sums[name] = _digest([str(root / name)])


def _files(root: Path) -> list[str]:
    made = (contents.MANIFEST, contents.SUMS, contents.SIGNATURE, "sbom.cdx.json")
    found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in made)


def _digest(names: Iterable[str]) -> str:
    try:
        return hash_files(names)
    except OSError as error:
        raise DiskError(f"{error}", code="DISK_ERROR", where=str(error.filename)) from error
