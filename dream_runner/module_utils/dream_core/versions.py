"""What new images do to the data that services keep: one pure decision.

A service whose data has a form that belongs to its version says so in the catalogue
(``migrates``). Until updates copy the data first, such a change waits for the user's word,
and the way back is refused.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .preflight import Finding, finding
from .references import name_of, pinned, version_of

Move = Dict[str, str]
Number = Tuple[int, ...]

#: The id by which a user accepts a migration. It holds for one run (inputs.py, commands/install).
ACCEPT = "migration"
MIGRATION, DOWNGRADE = "migration", "downgrade"
#: In the place of a list of versions: the data changes with each of them.
_EVERY = "every"


def moves(
    services: Iterable[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    receipts: Mapping[str, Any],
    pins: Mapping[str, Any],
) -> List[Move]:
    """Return ``{service, from, to, kind}`` of each change that is no way back for the data.

    ``images`` are those of the stack, ``pins`` the lock: it tells the version of a container of
    which only the digest was recorded. ``from`` is empty where even that is not known.
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
    """Return what the user has to know of ``moves``: blockers, of which a downgrade stays one."""
    answer = []
    back = [move for move in found if move["kind"] == DOWNGRADE]
    if back:
        answer.append(
            finding(
                DOWNGRADE,
                "blocker",
                "older versions cannot read the data of these services: %s" % _listed(back),
                hint="install with the newer dream-runner that made them; their data is untouched",
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
                "new versions change the data of these services for good: %s" % _listed(forward),
                hint="stop them with 'docker compose stop' in %s, copy their data, then run"
                " again with --accept %s" % (install_dir, ACCEPT),
                code="MIGRATION_NEEDED",
            )
        )
    return answer


def _listed(found: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(sentence(move) for move in found)


def sentence(move: Mapping[str, str]) -> str:
    """Return a move in words: ``n8n 2.6.4 -> 2.41.6``."""
    return "%s %s -> %s" % (move["service"], move["from"] or "of an unknown version", move["to"])


def number(tag: str) -> Number:
    """Return the version in an image's tag as numbers; empty where it has none."""
    match = re.search(r"\d+(?:[.-]\d+)*", version_of(tag))
    return tuple(int(part) for part in re.split("[.-]", match[0])) if match else ()


def _kind(old: str, new: str, steps: Any) -> str:
    """Return what a change of tags does to the data; empty where both ways are open."""
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


def _tags_before(receipts: Mapping[str, Any], pins: Mapping[str, Any]) -> Dict[str, str]:
    """Return the tag that each service last ran with; empty where its digest is not known.

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


def _by_reference(pins: Mapping[str, Any]) -> Dict[str, str]:
    """Return the tag of everything that a container may call its image by."""
    found: Dict[str, str] = {}
    for tag, entry in pins.items():
        for name in (pinned(tag, pins), entry.get("manifest")):
            if name:
                found[name] = tag
        if entry.get("digest"):
            # Where a mirror is named, it may have been pulled from its own place before.
            found["%s@%s" % (name_of(tag), entry["digest"])] = tag
    return found
