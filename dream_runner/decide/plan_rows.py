"""What an install will make on a host, counted beforehand: images, ports, units, restarts, disk.

Pure: what is decided (settings, choice, reasons) and what was found goes in, rows for people
and for ``--json`` come out. Nothing here looks at the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..module_utils.dream_core.health import access
from ..module_utils.dream_core.records import due_phases
from . import fast_start

Row = dict[str, Any]

#: As roles and receipts call it; a test keeps it equal to the playbooks' group_vars.
ENGINE_UNIT = "dream-runner-engine.service"
#: What is started anew by the services phase, by the kinds of its receipt.
_RUNNING = {"unit": "name", "supervisor": "program", "container": "service"}


def ports(settings: Mapping[str, Any], choice: Mapping[str, Any]) -> list[Row]:
    """Return ``{address, port, what, open, guard}`` of each port that will listen, the model first.

    ``open`` tells whether other computers can reach it; ``guard`` is its sign-in (access.py).
    """
    stack = choice.get("stack") or {}
    titles = {item["id"]: item["title"] for item in stack.get("services", ())}
    own = {"address": choice["engine_address"], "port": choice["engine_port"]}
    others = [
        {
            "address": item["address"],
            "port": item["port"],
            "what": titles.get(item["service"], item["service"]),
            "guard": item["guard"],
        }
        for item in stack.get("ports", ())
        if item["port"] != choice["engine_port"]
    ]
    guard = access.KEY if settings.get("api_key") and not stack else access.NO_PASSWORD
    rows = [dict(own, what="model API", guard=guard), *others]
    return [dict(item, open=access.is_open(str(item["address"]))) for item in rows]


def images(
    choice: Mapping[str, Any],
    here: Collection[str] | None,
    archive_bytes: Mapping[str, int],
) -> list[Row]:
    """Return ``{image, reference, services, bytes, present, source}`` for each image, once.

    ``here`` are the references that the engine has, None where it could not be asked: then
    ``present`` is None too. ``bytes`` is the size of the image's archive in the bundle, None for
    one that is pulled: a registry tells it only when asked.
    """
    rows: dict[str, Row] = {}
    for item in (choice.get("stack") or {}).get("images", ()):
        row = rows.setdefault(item["tag"], _image(item, here, archive_bytes))
        row["services"].append(item["service"])
    return list(rows.values())


def _image(
    item: Mapping[str, Any],
    here: Collection[str] | None,
    archive_bytes: Mapping[str, int],
) -> Row:
    names = [name for name in (item["reference"], item["also"]) if name]
    source = "bundle" if item["archive"] else "registry" if item["reference"] else "unknown"
    return {
        "image": item["tag"],
        "reference": item["reference"],
        "services": [],
        "bytes": archive_bytes.get(item["archive"]) if item["archive"] else None,
        "present": None if here is None else any(name in here for name in names),
        "source": source,
    }


def own_fetches(choice: Mapping[str, Any]) -> list[str]:
    """Return what containers fetch by themselves once they run, with whose it is (D11)."""
    services = (choice.get("stack") or {}).get("services", ())
    return [
        "{}: {}".format(item["id"], item["fetches"]) for item in services if item.get("fetches")
    ]


def units(choice: Mapping[str, Any]) -> list[Row]:
    """Return ``{name, scope}`` of what will keep running: units, a supervised program, containers.

    ``scope`` is system, user, supervisord, background or compose.
    """
    later = [fast_start.keeper(choice["supervisor"])] if choice.get("upgrade") else []
    return [*_engines(choice), *later]


def _engines(choice: Mapping[str, Any]) -> list[Row]:
    stack = choice.get("stack")
    if stack:
        running = (item for item in stack["services"] if not item["once"])
        return [{"name": item["id"], "scope": "compose"} for item in running]
    if choice["supervisor"] == "supervisord":
        return [{"name": "engine", "scope": "supervisord"}]
    return [{"name": ENGINE_UNIT, "scope": _scope(choice)}]


def _scope(choice: Mapping[str, Any]) -> str:
    return "user" if choice["supervisor"] == "systemd-user" else "system"


def restarts(
    reasons: Mapping[str, due_phases.Reason], receipts: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the names of what runs by an earlier install and may be started anew.

    No more than these are; of them only those whose program, configuration or container differs.
    """
    before = receipts.get("services") or {}
    if not reasons["services"].is_due or before.get("state") in (None, "removed"):
        return []
    found = [
        str(item[_RUNNING[item["kind"]]])
        for item in before.get("resources", ())
        if item.get("kind") in _RUNNING and item.get(_RUNNING[item["kind"]])
    ]
    return sorted(set(found))


def disk(needs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Add up per filesystem: ``{mount, needed_bytes, free_bytes, parts: [{what, bytes}]}``.

    ``needs`` are ``{what, bytes, device, mount, free_bytes}``; what needs nothing more is left
    out. Several needs on one device share one row.
    """
    rows: dict[Any, Row] = {}
    for item in needs:
        if item["bytes"] <= 0:
            continue
        place = {"mount": item["mount"], "free_bytes": item["free_bytes"]}
        row = rows.setdefault(item["device"], dict(place, needed_bytes=0, parts=[]))
        row["needed_bytes"] += item["bytes"]
        row["parts"].append({"what": item["what"], "bytes": item["bytes"]})
    return list(rows.values())
