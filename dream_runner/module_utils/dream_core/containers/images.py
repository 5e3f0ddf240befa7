"""Make every image available locally: load it from a bundle, or pull it by digest or id."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Sequence

from ..errors import DiskError, DreamError, EngineError, IntegrityError, RequirementError
from ..types.choice import StackImage
from ..types.compose import SettledImages
from . import engine_images

#: Called with the name of an image, bytes done, total bytes (0: unknown) and a note.
Progress = Callable[[str, int, int, str], None]


def settle(
    command: str,
    images: Sequence[StackImage],
    core: Sequence[str],
    *,
    bundle: str,
    offline: bool,
    attempts: int,
    parallel: int,
    write: bool,
    on_progress: Progress,
) -> SettledImages:
    """Make ``images`` available to the engine; return ``{changed, fetched, degraded}``.

    ``degraded`` maps optional services to the reason why their image is missing. A missing image of
    ``core``, a full disk or a wrong digest raises an error. Images that were fetched are kept.
    """
    missing = _missing(command, images)
    if offline:
        _refuse_network(missing)
    if not write or not missing:
        return {"changed": bool(missing), "fetched": _names(missing), "degraded": {}}
    _load(command, missing, bundle, on_progress)
    errors = _pull(command, missing, attempts, parallel, on_progress)
    failed: Dict[str, str] = {}
    for image in images:
        error = errors.get(image["reference"])
        if error and (image["service"] in core or isinstance(error, (DiskError, IntegrityError))):
            raise error
        if error:
            failed[image["service"]] = error.what
    done = [image for image in missing if image["reference"] not in errors]
    return {"changed": bool(done), "fetched": _names(done), "degraded": failed}


def _missing(command: str, images: Sequence[StackImage]) -> List[StackImage]:
    """Return one image for each reference that the engine lacks."""
    by_reference = {image["reference"]: image for image in images}
    names = {name for image in images for name in (image["reference"], image["also"]) if name}
    here = engine_images.images(command, sorted(names))
    return [
        image
        for reference, image in by_reference.items()
        if reference not in here and image["also"] not in here
    ]


def _names(images: Sequence[StackImage]) -> List[str]:
    return [image["tag"] for image in images]


def _refuse_network(missing: Sequence[StackImage]) -> None:
    wanted = [image["tag"] for image in missing if not image["archive"]]
    if wanted:
        raise RequirementError(
            "offline, but these images are missing: %s" % ", ".join(wanted),
            code="OFFLINE_ARTEFACT_MISSING",
            hint="run once without --offline, or create a lock from a bundle that has them",
        )


def _load(command: str, missing: Sequence[StackImage], bundle: str, on_progress: Progress) -> None:
    """Load the images that a bundle has, then compare them with the lock."""
    # Imported here, because a survey has to be fast and never loads an image.
    from ..system.filesystems import parts_of

    archives = {image["archive"]: image["tag"] for image in missing if image["archive"]}
    for archive, tag in archives.items():
        path = os.path.join(bundle, archive)
        size = sum(os.path.getsize(part) for part in parts_of(path) if os.path.exists(part))
        on_progress(tag, 0, size, "loading")
        engine_images.load(command, path)
        on_progress(tag, size, size, "")
    for image in _missing(command, [image for image in missing if image["archive"]]):
        raise IntegrityError(
            "%s does not hold the image %s" % (image["archive"], image["reference"]),
            code="IMAGE_DIGEST",
            where=os.path.join(bundle, image["archive"]),
            hint="the lock was made from another bundle; run: dream-runner lock --bundle %s"
            % bundle,
        )


def _pull(
    command: str,
    missing: Sequence[StackImage],
    attempts: int,
    parallel: int,
    on_progress: Progress,
) -> Dict[str, DreamError]:
    """Pull the remaining images, ``parallel`` at a time; return the errors by reference."""

    def pull(image: StackImage) -> Any:
        def progress(done: int, total: int, note: str) -> None:
            on_progress(image["tag"], done, total, note)

        try:
            engine_images.pull(
                command,
                image["reference"],
                image["platform"],
                attempts=attempts,
                on_progress=progress,
            )
            if not engine_images.images(command, [image["reference"]]):
                raise EngineError(
                    "%s was pulled, but the engine does not have it" % image["reference"],
                    code="IMAGE_PULL",
                    hint="run again; 'docker image ls' lists the engine's images",
                )
        except DreamError as error:
            return image["reference"], _explained(error, image)
        return image["reference"], None

    wanted = [image for image in missing if not image["archive"]]
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        return {reference: error for reference, error in pool.map(pull, wanted) if error}


def _explained(error: DreamError, image: StackImage) -> DreamError:
    """Add the image and a hint to the error if the pinned digest no longer exists."""
    if error.code == "IMAGE_NOT_FOUND":
        remedy = "'dream-runner lock %s' pins its current digest" % image["tag"]
        what = "the registry no longer has the pinned digest of %s (%s); %s"
        return EngineError(
            what % (image["tag"], image["reference"], remedy),
            code=error.code,
            where=error.where,
            hint="%s; then run again" % remedy,
        )
    if error.code == "IMAGE_DENIED":
        # Registries give the same answer for a removed repository and for one that needs a login.
        error.hint += "; if it no longer exists: dream-runner lock %s" % image["tag"]
    return error
