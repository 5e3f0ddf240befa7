"""The bill of materials of a bundle, in CycloneDX format."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ..version import __version__


def document(manifest: Mapping[str, Any], sums: Mapping[str, str]) -> dict[str, Any]:
    """Return the bill of materials. The same content gives the same serial number."""
    components = list(_components(manifest, sums))
    content = "".join(sorted(sums.values()))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "timestamp": manifest["made_at"],
            "tools": {
                "components": [
                    {"type": "application", "name": "dream-runner", "version": __version__}
                ]
            },
            "component": {"type": "file", "name": "dream-runner bundle", "bom-ref": "bundle"},
        },
        "components": components,
    }


def _components(manifest: Mapping[str, Any], sums: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for model in manifest["models"]:
        for item in model["files"]:
            yield {
                **_named("machine-learning-model", item["file"], item["sha256"][:12]),
                "description": model["name"],
                "hashes": _hashes(item["sha256"]),
                "externalReferences": [
                    {"type": "distribution", "url": url}
                    for url in item["urls"]
                    if url.startswith("https:")
                ],
            }
    for name in manifest["wheels"]:
        package, version = name.split("/")[-1].split("-")[:2]
        yield _packaged("pypi", re.sub(r"[-_.]+", "-", package).lower(), version, sums[name])
    for name in manifest["debs"]:
        package, version = name.split("/")[-1].split("_")[:2]
        yield _packaged("deb/debian", package, version.replace("%3a", ":"), sums[name])
    for image in manifest["images"]:
        yield {
            **_named("container", image["tag"], image.get("digest", "")),
            "hashes": _hashes(image.get("sha256") or sums[image["archive"]]),
        }


def _named(kind: str, name: str, version: str) -> dict[str, Any]:
    return {"type": kind, "name": name, "version": version, "bom-ref": f"{kind}:{name}@{version}"}


def _packaged(ecosystem: str, name: str, version: str, sha256: str) -> dict[str, Any]:
    purl = f"pkg:{ecosystem}/{name}@{quote(version, safe='')}"
    return {
        **_named("library", name, version),
        "bom-ref": f"{purl}#{sha256[:12]}",
        "purl": purl,
        "hashes": _hashes(sha256),
    }


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]
