"""Remove everything from a capture that identifies its machine or owner.

UUIDs and other unique ids become numbers, so that a replay can still distinguish devices.
Names and addresses become placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..module_utils.dream_core.types.facts import Capture

_UUID = re.compile(r"\b(GPU|MIG)-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_MAC = re.compile(r"\b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b")
_ADDRESS = re.compile(
    r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b|\b(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}\b"
)
_HOMES = re.compile(r"(/home|/Users|/media|/run/media|/run/user)/[^/\s\"]+")
_REMOTE = re.compile(r"^(?://[^/]+|[^/\s]+:)/.*$")

Change = Callable[[str], str]


def scrub(capture: Capture, private: Sequence[str] = ()) -> dict[str, Any]:
    """Return a copy without serial numbers, names and addresses.

    ``private`` are words to remove from mounts and error texts: the names of host and user. They
    stay elsewhere: the capture of a host called ``ubuntu`` must keep its distribution.
    """
    numbers: dict[str, str] = {}
    clean: dict[str, Any] = _walk(dict(capture), lambda text: _ids(text, numbers))
    clean["machine"] = {k: v for k, v in (clean.get("machine") or {}).items() if k != "boot_id"}
    clean["mounts"] = [_mount(row, private) for row in clean.get("mounts") or []]
    clean["errors"] = _walk(clean.get("errors") or {}, lambda text: _names(text, private))
    for number, device in enumerate(clean.get("pci") or []):
        if (device.get("amd") or {}).get("unique_id"):
            device["amd"]["unique_id"] = "%016x" % (number + 1)
    return clean


def _walk(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_walk(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _walk(item, change) for key, item in value.items()}
    return value


def _ids(text: str, numbers: dict[str, str]) -> str:
    """Replace UUIDs with numbers, the same UUID always with the same number."""

    def counted(match: re.Match[str]) -> str:
        number = f"{match[1]}-00000000-0000-0000-0000-{len(numbers):012d}"
        return numbers.setdefault(match[0], number)

    return _MAC.sub("00:00:00:00:00:00", _HOMES.sub(r"\1/user", _UUID.sub(counted, text)))


def _names(text: str, private: Sequence[str]) -> str:
    text = _ADDRESS.sub("address", text)
    for word in private:
        if len(word) > 2:
            text = re.sub(rf"\b{re.escape(word)}\b", "name", text)
    return text


def _mount(row: list[str], private: Sequence[str]) -> list[str]:
    device, path, kind = (_names(text, private) for text in row)
    # A network share contains its server's name; pools and volumes often their owner's name.
    known = device.startswith("/dev/") or "/" not in device
    if _REMOTE.match(device) or not known:
        device = "remote:/export"
    return [device, path, kind]
