"""``dream-runner bundle``: make, prove and show what an air-gapped host needs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .. import wording
from ..module_utils.dream_core.bundle import contents
from ..module_utils.dream_core.fetch.request import Progress

_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}


def create(
    directory: str,
    environment: Mapping[str, str],
    report: Callable[[str], None],
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> contents.Bundle:
    """Make or complete a bundle and read it once more. Raises DreamError."""
    from ..bundle import create as work

    given = {name: value for name, value in options.items() if value not in ("", (), None)}
    given.setdefault("pythons", (f"{sys.version_info.major}.{sys.version_info.minor}",))
    given.setdefault("arch", _ARCHES.get(platform.machine(), "amd64"))
    for name in ("tiers", "models", "features"):
        given.setdefault(name, ())
    found = work.create(work.Wanted(directory, **given), environment, report, on_progress)
    report("reading all of it once more")
    contents.verify(found)
    return found


def verify(
    directory: str,
    signers: str,
    environment: Mapping[str, str],
    on_bytes: contents.OnBytes | None = None,
) -> contents.Bundle:
    """Prove a bundle: its form, every file, and its signature where one is asked for."""
    found = contents.inspect(os.path.abspath(directory), signers or trusted(environment))
    contents.verify(found, on_bytes)
    return found


def look(directory: str, signers: str = "") -> contents.Bundle:
    """Return what a bundle says it holds, after a look at its form and its signature."""
    return contents.inspect(os.path.abspath(directory), signers)


def trusted(environment: Mapping[str, str]) -> str:
    """Return the file of signers that this user trusts, or nothing."""
    return contents.trusted_signers(environment.get("HOME", ""))


def as_json(found: contents.Bundle) -> dict[str, Any]:
    """Return the bundle as the data that ``--json`` prints."""
    manifest = {key: value for key, value in found.manifest.items() if key != "sizes"}
    return {"directory": found.directory, "size_bytes": found.size_bytes, **manifest}


def as_text(found: contents.Bundle) -> str:
    """Return what is in the bundle, for a person."""
    manifest = found.manifest
    lines = [
        f"Bundle {found.directory}: {len(found.sums)} files, {wording.size(found.size_bytes)},"
        f" made {manifest['made_at']} by dream-runner {manifest['version']}",
        f"  profile   {manifest['profile']}",
        f"  tiers     {', '.join(manifest['tiers']) or 'none named'}",
        f"  for       Python {', '.join(manifest['pythons'])} on {manifest['arch']}",
    ]
    for model in manifest["models"]:
        size = sum(item["size_bytes"] or 0 for item in model["files"])
        lines.append(
            f"  model     {model['id']} ({wording.size(size) if size else 'size unknown'})"
        )
    lines += [f"  image     {image['tag']}" for image in manifest["images"]]
    lines.append(f"  packages  {len(manifest['wheels'])} wheels, {len(manifest['debs'])} of Debian")
    return "\n".join(lines)
