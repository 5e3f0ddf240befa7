"""``dream-runner bundle``: create, verify and list what an air-gapped host needs."""

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
    """Create or complete a bundle, then verify it. Raises DreamError."""
    from ..bundle import create as work

    given = {name: value for name, value in options.items() if value not in ("", (), None)}
    given.setdefault("pythons", (f"{sys.version_info.major}.{sys.version_info.minor}",))
    given.setdefault("arch", _ARCHES.get(platform.machine(), "amd64"))
    for name in ("tiers", "models", "features"):
        given.setdefault(name, ())
    found = work.create(work.Wanted(directory, **given), environment, report, on_progress)
    report("verifying the bundle")
    contents.verify(found)
    return found


def verify(
    directory: str,
    signers: str,
    environment: Mapping[str, str],
    on_bytes: contents.OnBytes | None = None,
) -> contents.Bundle:
    """Verify a bundle: its manifest, every file, and its signature if signers are given."""
    found = contents.inspect(os.path.abspath(directory), signers or trusted(environment))
    contents.verify(found, on_bytes)
    return found


def look(directory: str, signers: str = "") -> contents.Bundle:
    """Return the content of a bundle after checking its manifest and signature, not its files."""
    return contents.inspect(os.path.abspath(directory), signers)


def trusted(environment: Mapping[str, str]) -> str:
    """Return the path of this user's file of trusted signers, or an empty string."""
    return contents.trusted_signers(environment.get("HOME", ""))


def as_json(found: contents.Bundle) -> dict[str, Any]:
    """Return the bundle as the data that ``--json`` prints."""
    manifest = {key: value for key, value in found.manifest.items() if key != "sizes"}
    return {"directory": found.directory, "size_bytes": found.size_bytes, **manifest}


def as_text(found: contents.Bundle) -> str:
    """Return the content of the bundle as text."""
    manifest = found.manifest
    lines = [
        f"Bundle {found.directory}: {len(found.sums)} files, {wording.size(found.size_bytes)},"
        f" created {manifest['made_at']} by dream-runner {manifest['version']}",
        f"  profile   {manifest['profile']}",
        f"  tiers     {', '.join(manifest['tiers']) or 'none'}",
        f"  for       Python {', '.join(manifest['pythons'])} on {manifest['arch']}",
    ]
    for model in manifest["models"]:
        size = sum(item["size_bytes"] or 0 for item in model["files"])
        lines.append(
            f"  model     {model['id']} ({wording.size(size) if size else 'size unknown'})"
        )
    lines += [f"  image     {image['tag']}" for image in manifest["images"]]
    lines.append(
        f"  packages  {len(manifest['wheels'])} wheels, {len(manifest['debs'])} Debian packages"
    )
    return "\n".join(lines)
