"""Decide how new images affect the data of services. Pure.

``migrates`` in the catalogue lists the versions that change the format of a service's data. Until
updates copy the data first, such a migration waits until the user accepts it, and a downgrade is
refused.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..containers.references import name_of, pinned, version_of
from ..records.inputs import ACCEPT
from ..types.choice import StackImage
from ..types.compose import Locked, Service
from ..types.finding import Finding
from ..types.receipt import Receipts
from .finding import finding

Move = Dict[str, str]
Number = Tuple[int, ...]

MIGRATION, DOWNGRADE = "migration", "downgrade"
#: In place of a list: every version changes the data.
_EVERY = "every"


def moves(
    services: Iterable[Service],
    images: Sequence[StackImage],
    receipts: Receipts,
    pins: Locked,
) -> List[Move]:
    """Return ``{service, from, to, kind}`` of each migration and each downgrade.

    ``images`` are those of the stack. ``pins`` is the lock, which gives the version of a container
    that was recorded by its digest only. ``from`` is empty if the version is unknown.
    """
    rows = {item["id"]: item for item in services if "migrates" in item}
    before = _tags_before(receipts, pins)
    found = []
    for image in images:
        name, new = str(image["service"]), str(image["tag"])
        if name not in rows or name not in before:
            continue
        old = before[name]
        kind = _kind(old, new, rows[name]["migrates"])
        if kind:
            found.append(
                {"service": name, "from": version_of(old), "to": version_of(new), "kind": kind}
            )
    return found


def findings(found: Sequence[Mapping[str, str]], install_dir: str) -> List[Finding]:
    """Return the blockers for ``moves``; a downgrade cannot be accepted."""
    answer = []
    back = [move for move in found if move["kind"] == DOWNGRADE]
    if back:
        answer.append(
            finding(
                DOWNGRADE,
                "blocker",
                "older versions cannot read the data of these services: %s" % _listed(back),
                hint="install with the newer dream-runner again; the data has not been changed",
                code="DOWNGRADE_REFUSED",
                final=True,
            )
        )
    forward = [move for move in found if move["kind"] == MIGRATION]
    if forward:
        answer.append(
            finding(
                ACCEPT,
                "blocker",
                "new versions permanently change the data of: %s" % _listed(forward),
                hint="stop them with 'docker compose stop' in %s, copy their data, then run"
                " again with --accept %s" % (install_dir, ACCEPT),
                code="MIGRATION_NEEDED",
            )
        )
    return answer


def _listed(found: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(sentence(move) for move in found)


def sentence(move: Mapping[str, str]) -> str:
    """Return a move as text: ``n8n 2.6.4 -> 2.41.6``."""
    return "%s %s -> %s" % (move["service"], move["from"] or "(unknown version)", move["to"])


def number(tag: str) -> Number:
    """Return the version in an image's tag as numbers; empty if it has none."""
    match = re.search(r"\d+(?:[.-]\d+)*", version_of(tag))
    return tuple(int(part) for part in re.split("[.-]", match[0])) if match else ()


def _kind(old: str, new: str, steps: Any) -> str:
    """Return the kind of a change of tags; empty if both versions can read the data."""
    if old == new or (old and name_of(old) != name_of(new)):
        return ""
    before, after = number(old), number(new)
    if not before or not after:
        return MIGRATION
    if after < before:
        return DOWNGRADE
    if steps == _EVERY:
        return MIGRATION if after > before else ""
    crossed = any(before < number(":" + step) <= after for step in steps)
    return MIGRATION if crossed else ""


def _tags_before(receipts: Receipts, pins: Locked) -> Dict[str, str]:
    """Return the tag that each service last ran with; empty if its digest is unknown.

    Recorded by the images phase; earlier versions recorded the containers only.
    """
    facts = (receipts.get("images") or {}).get("facts") or {}
    recorded: Optional[Mapping[str, str]] = facts.get("versions")
    if recorded is not None:
        return dict(recorded)
    known = _by_reference(pins)
    return {
        str(item["service"]): known.get(str(item["seen"].get("image")), "")
        for item in (receipts.get("services") or {}).get("resources", ())
        if item.get("kind") == "container" and (item.get("seen") or {}).get("present")
    }


def _by_reference(pins: Locked) -> Dict[str, str]:
    """Map every name that a container may have for its image to the tag."""
    found: Dict[str, str] = {}
    for tag, entry in pins.items():
        for name in (pinned(tag, pins), entry.get("manifest")):
            if name:
                found[name] = tag
        if entry.get("digest"):
            # An image with a mirror may have been pulled from its own registry earlier.
            found["%s@%s" % (name_of(tag), entry["digest"])] = tag
    return found
