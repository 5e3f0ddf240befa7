"""Whether the native profile gets Open WebUI, and where. Pure.

The full profile always has it, in a container. The native profile has it if somebody asked for
it: it is half a gigabyte to download.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.fetch.wheel_lock import Lock
from ..module_utils.dream_core.profiles import NATIVE
from ..module_utils.dream_core.system import ip_addresses
from ..module_utils.dream_core.types.choice import Webui
from ..module_utils.dream_core.types.compose import Service
from ..module_utils.dream_core.types.facts import Facts
from ..module_utils.dream_core.types.host import Listener
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.service import ServiceSummary
from ..module_utils.dream_core.types.settings import SettingValues
from . import ports

NAME = "webui"
SERVICE = "open-webui"
#: Its first start compiles what it imports and creates its database.
_START_SECONDS = 300


def is_wanted(settings: SettingValues) -> tuple[bool, str]:
    """Return whether the host gets Open WebUI, and why; ``settings`` have the resolved profile."""
    if settings["profile"] != NATIVE:
        return True, "the full profile contains it"
    if settings["webui"] in ("yes", True):
        return True, "chosen by the user"
    if settings["webui"] in ("no", False):
        return False, "switched off"
    return False, "only on request: --webui yes"


def resolve(
    settings: SettingValues,
    facts: Facts,
    catalog: Any,
    engine_port: int,
    receipts: Receipts,
    listeners: Sequence[Listener],
    loopbacks: Sequence[str],
) -> Webui | None:
    """Return what the native profile needs to know of Open WebUI; None where it has none.

    Raises UsageError WEBUI_UNSUPPORTED where no packages fit the processor, RequirementError
    PORT_TAKEN.
    """
    if settings["profile"] != NATIVE or not is_wanted(settings)[0]:
        return None
    lock, arch = catalog.webui, str(facts["arch"])
    if not lock.pythons(arch):
        raise UsageError(
            f"there are no packages of Open WebUI for {arch}",
            code="WEBUI_UNSUPPORTED",
            hint="use --webui no",
        )
    service = _service(catalog)
    (port,) = ports.choose_all([service], engine_port, receipts, listeners, settings, loopbacks)
    url = ip_addresses.base_url(ip_addresses.reachable(port["address"], loopbacks), port["port"])
    largest = max((f"{python}-{arch}" for python in lock.pythons(arch)), key=lock.size_bytes)
    return {
        "version": lock.version,
        "pythons": lock.pythons(arch),
        "packages": len(lock.of(largest)),
        "download_bytes": lock.size_bytes(largest),
        "port": port,
        "service": {
            "id": service["id"],
            "title": service["title"],
            "core": False,
            "part_of": "",
            "once": False,
            "url": url,
            "probe": url + service["probe_path"],
            "budget_seconds": _START_SECONDS,
            "fetches": "",
        },
        "parts": [
            _part("webui-documents", "Search in documents"),
            _part("webui-speech", "Speech recognition"),
        ],
    }


def _part(name: str, title: str) -> ServiceSummary:
    """Return a part of Open WebUI's own process: it has no page, and its feature is tested."""
    return {
        "id": name,
        "title": title,
        "core": False,
        "part_of": SERVICE,
        "once": False,
        "url": "",
        "probe": "",
        "budget_seconds": 0,
        "fetches": "",
    }


def offer(catalog: Any, arch: str) -> int:
    """Return the bytes that Open WebUI would download on a processor; 0: it does not exist."""
    lock: Lock = catalog.webui
    return max((lock.size_bytes(f"{python}-{arch}") for python in lock.pythons(arch)), default=0)


def _service(catalog: Any) -> Service:
    services: Sequence[Service] = catalog.services["services"]
    return next(item for item in services if item["id"] == SERVICE)
