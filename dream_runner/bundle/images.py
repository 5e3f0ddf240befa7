"""The container images of a bundle: copied by digest with skopeo, which needs no engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..module_utils.dream_core.errors import IntegrityError, NetworkError
from ..module_utils.dream_core.stack import name_of

_SECONDS = 3600
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def fetch(
    target: Path,
    locked: Mapping[str, Mapping[str, Any]],
    arch: str,
    part_bytes: int,
    report: Callable[[str], None],
) -> None:
    """Copy every image that the lock pins by digest into ``target``, each an archive of its own.

    One that is there is not copied again: an archive gets its name when it is whole. What cannot
    go in is said, with the reason. ``part_bytes`` is the largest file. Raises NetworkError
    IMAGE_COPY, or IntegrityError IMAGE_DIGEST where a registry gave something else.
    """
    wanted = {tag: entry for tag, entry in locked.items() if entry.get("digest")}
    if wanted and not shutil.which("skopeo"):
        report("no container images: this host has no skopeo")
        return
    for tag, entry in sorted(wanted.items()):
        if "@" in tag:
            # An archive names its images by tags, and a target's lock finds them by those.
            report(f"image {tag} is not in it: it has no tag of its own")
            continue
        path = target / file_name(tag)
        if not path.exists():
            report(f"image {tag}")
            _copy(tag, entry, arch, path)
        if path.stat().st_size > part_bytes:
            path.unlink()
            report(f"image {tag} is not in it: it is larger than a file of FAT can be")


def file_name(tag: str) -> str:
    """Return the name of the archive of a tag, in letters that every filesystem takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", tag) + ".tar"


def _copy(tag: str, entry: Mapping[str, Any], arch: str, path: Path) -> None:
    source = f"{entry.get('from') or name_of(tag)}@{entry['digest']}"
    work = path.with_suffix(".part")
    # skopeo adds to an archive that is there; this one is of a run that was killed.
    work.unlink(missing_ok=True)
    command = ["skopeo", "--override-os", "linux", "--override-arch", arch, "copy", "--quiet"]
    if source.split("/")[0].split(":")[0] in ("127.0.0.1", "localhost"):
        # As with the lock: only this machine is asked without TLS.
        command.append("--src-tls-verify=false")
    command += [f"docker://{source}", f"docker-archive:{work}:{tag}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        said = (done.stderr.strip().splitlines() or ["skopeo failed"])[-1][-300:]
        if done.returncode == 0:
            work.replace(path)
            return
    except subprocess.TimeoutExpired:
        said = f"not in {_SECONDS} s"
    finally:
        work.unlink(missing_ok=True)
    raise _error(tag, said)


def _error(tag: str, said: str) -> IntegrityError | NetworkError:
    if "digest" in said.lower() and _DIGEST.search(said):
        return IntegrityError(
            f"the image {tag} is not the one that is pinned: {said}",
            code="IMAGE_DIGEST",
            hint="check the registry or proxy; dream-runner lock asks for the digests anew",
        )
    return NetworkError(
        f"the image {tag} could not be copied: {said}",
        code="IMAGE_COPY",
        hint="run the same command again; what is there is kept",
    )
