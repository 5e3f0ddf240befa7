"""List what an install will create on a host: images, ports, units, restarts, disk space.

Pure: takes decisions (settings, choice, reasons) and observations, and returns rows for the
text of the plan and for ``--json``. Nothing here accesses the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from ..module_utils.dream_core.checks.ports import published
from ..module_utils.dream_core.document import TypedDict
from ..module_utils.dream_core.health import access
from ..module_utils.dream_core.records import due_phases
from ..module_utils.dream_core.types.choice import Choice, StackImage
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.settings import SettingValues
from . import fast_start


class PortRow(TypedDict):
    """A port that will listen; ``open``: other computers can reach it."""

    address: str
    port: int
    what: str
    #: Its sign-in (access.py).
    guard: str
    open: bool


class ImageRow(TypedDict):
    """An image; ``present`` is None if the engine could not be asked."""

    image: str
    reference: str
    services: list[str]
    #: Size of its archive in the bundle; None for an image that is pulled.
    bytes: int | None
    present: bool | None
    #: bundle, registry or unknown.
    source: str


class UnitRow(TypedDict):
    """A service or program; ``scope`` is system, user, supervisord, background or compose."""

    name: str
    scope: str


class DiskBytes(TypedDict):
    """A named part of the bytes to write."""

    what: str
    bytes: int


class DiskRow(TypedDict):
    """The bytes to write on one filesystem."""

    mount: str | None
    free_bytes: int | None
    needed_bytes: int
    parts: list[DiskBytes]


class DiskShare(DiskBytes):
    """Bytes still to write, with their filesystem."""

    device: int | None
    mount: str | None
    free_bytes: int | None


#: An image whose digest was looked up; ``from`` is a mirror's repository.
PinRow = TypedDict("PinRow", {"image": str, "digest": str, "from": str})

#: The unit's name in roles and receipts; a test compares it with the playbooks' group_vars.
ENGINE_UNIT = "dream-runner-engine.service"
WEBUI_UNIT = "dream-runner-webui.service"
#: Kinds of resources that the services phase restarts, with the key of their name.
_RUNNING: dict[str, Literal["name", "program", "service"]] = {
    "unit": "name",
    "supervisor": "program",
    "container": "service",
}


def ports(settings: SettingValues, choice: Choice) -> list[PortRow]:
    """Return ``{address, port, what, open, guard}`` of each port that will listen, model first.

    ``open``: other computers can reach it; ``guard`` is its sign-in (access.py).
    """
    stack = choice.get("stack") or {}
    app = choice.get("webui")
    services = [*stack.get("services", ()), *([app["service"]] if app else [])]
    titles = {item["id"]: item["title"] for item in services}
    guard = access.KEY if settings.get("api_key") and not stack else access.NO_PASSWORD
    own = _port_row(choice["engine_address"], choice["engine_port"], "model API", guard)
    others = [
        _port_row(
            item["address"],
            item["port"],
            titles.get(item["service"], item["service"]),
            item["guard"],
        )
        for item in published(choice)
        if item["port"] != choice["engine_port"]
    ]
    return [own, *others]


def _port_row(address: str, port: int, what: str, guard: str) -> PortRow:
    return {
        "address": address,
        "port": port,
        "what": what,
        "guard": guard,
        "open": access.is_open(str(address)),
    }


def images(
    choice: Choice,
    here: Collection[str] | None,
    archive_bytes: Mapping[str, int],
) -> list[ImageRow]:
    """Return ``{image, reference, services, bytes, present, source}`` for each image, once.

    ``here`` are the references that the engine has; if it could not be asked, ``here`` and
    ``present`` are None. ``bytes`` is the size of the image's archive in the bundle, None
    for an image that is pulled.
    """
    rows: dict[str, ImageRow] = {}
    for item in (choice.get("stack") or {}).get("images", ()):
        row = rows.setdefault(item["tag"], _image(item, here, archive_bytes))
        row["services"].append(item["service"])
    return list(rows.values())


def _image(
    item: StackImage,
    here: Collection[str] | None,
    archive_bytes: Mapping[str, int],
) -> ImageRow:
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


def own_fetches(choice: Choice) -> list[str]:
    """Return what containers download themselves after their start, with the service (D11)."""
    services = (choice.get("stack") or {}).get("services", ())
    return [
        "{}: {}".format(item["id"], item["fetches"]) for item in services if item.get("fetches")
    ]


def units(choice: Choice) -> list[UnitRow]:
    """Return ``{name, scope}`` of what will run: units, a supervised program, containers.

    ``scope`` is system, user, supervisord, background or compose.
    """
    later = [fast_start.keeper(choice["supervisor"])] if choice.get("upgrade") else []
    return [*_engines(choice), *later]


def _engines(choice: Choice) -> list[UnitRow]:
    stack = choice.get("stack")
    if stack:
        running = (item for item in stack["services"] if not item["once"])
        return [{"name": item["id"], "scope": "compose"} for item in running]
    has_webui = bool(choice.get("webui"))
    if choice["supervisor"] == "supervisord":
        programs = ["engine", "webui"] if has_webui else ["engine"]
        return [{"name": name, "scope": "supervisord"} for name in programs]
    names = [ENGINE_UNIT, WEBUI_UNIT] if has_webui else [ENGINE_UNIT]
    return [{"name": name, "scope": _scope(choice)} for name in names]


def _scope(choice: Choice) -> str:
    return "user" if choice["supervisor"] == "systemd-user" else "system"


def restarts(reasons: Mapping[str, due_phases.Reason], receipts: Receipts) -> list[str]:
    """Return the services of an earlier install that may be restarted.

    Only those whose program, configuration or container has changed are restarted.
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


def disk(needs: Sequence[DiskShare]) -> list[DiskRow]:
    """Return sums per filesystem: ``{mount, needed_bytes, free_bytes, parts: [{what, bytes}]}``.

    ``needs`` are ``{what, bytes, device, mount, free_bytes}``; needs of 0 bytes are left out.
    Needs on the same device share one row.
    """
    rows: dict[int | None, DiskRow] = {}
    for item in needs:
        if item["bytes"] <= 0:
            continue
        new: DiskRow = {
            "mount": item["mount"],
            "free_bytes": item["free_bytes"],
            "needed_bytes": 0,
            "parts": [],
        }
        row = rows.setdefault(item["device"], new)
        row["needed_bytes"] += item["bytes"]
        row["parts"].append({"what": item["what"], "bytes": item["bytes"]})
    return list(rows.values())
