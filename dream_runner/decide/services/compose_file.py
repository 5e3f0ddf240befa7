"""Create the compose file of the chosen services.

Secrets and values that a user may change stay references to ``.env`` (``${KEY}``). All decided
values are written into the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ...catalog import entries
from ...module_utils.dream_core.layout import FILES_LABEL
from ...module_utils.dream_core.types.choice import StackPort
from ...module_utils.dream_core.types.compose import (
    ComposeService,
    Healthcheck,
    Project,
    Service,
    ServiceVolume,
)

_LOGGING = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}

_CONDITIONS = {
    "started": "service_started",
    "healthy": "service_healthy",
    "completed": "service_completed_successfully",
}

#: Tries one HTTP client after another: images contain different ones.
_ASK = (
    "u={url}; "
    'if command -v curl >/dev/null; then exec curl -fsS -o /dev/null "$u"; '
    'elif command -v wget >/dev/null; then exec wget -q -O /dev/null "$u"; '
    "elif command -v python3 >/dev/null; then exec python3 -c "
    "'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=9)' \"$u\"; "
    "elif command -v node >/dev/null; then exec node -e "
    "'fetch(process.argv[1]).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))' \"$u\"; "
    "else exec perl -MIO::Socket -e '($h, $p, $f) = $ARGV[0] =~ m,//([^:/]+):(\\d+)(.*),; "
    '$s = IO::Socket::INET->new("$h:$p") or exit 1; print $s "GET $f HTTP/1.0\\r\\n\\r\\n"; '
    'exit(<$s> =~ / 2\\d\\d /  ? 0 : 1)\' "$u"; fi'
)


class Decided(NamedTuple):
    """What is known about all services when one is rendered.

    ``images`` maps services to image references, ``published`` are the ports, ``cards`` maps
    services to the ids of their GPUs, ``contents`` maps them to a digest of the files that
    they read at their start.
    """

    install_dir: str
    keys: Mapping[str, str]
    images: Mapping[str, str]
    published: Sequence[StackPort]
    cards: Mapping[str, Sequence[str]]
    contents: Mapping[str, str]


def render(
    services: Sequence[Service],
    decided: Decided,
    *,
    name: str,
    networks: Mapping[str, entries.Network],
) -> Project:
    """Return the compose project of ``services`` as data."""
    there = {item["id"] for item in services}
    once = {
        name
        for item in services
        for name, how in (item.get("depends_on") or {}).items()
        if how == "completed"
    }
    rendered = {item["id"]: _service(item, decided, there, once) for item in services}
    named: ComposeService = {
        volume["source"]: {}
        for item in services
        for volume in item.get("volumes", ())
        if volume["kind"] == "named"
    }
    used = {network for item in rendered.values() for network in item.get("networks", ())}
    return {
        "name": name,
        "services": rendered,
        "networks": {key: dict(networks.get(key, {})) for key in sorted(used)},
        "volumes": named,
    }


def _service(
    item: Service, decided: Decided, there: Collection[str], once: Collection[str]
) -> ComposeService:
    service: ComposeService = {
        "image": decided.images[item["id"]],
        # The images phase has verified it; compose must never pull another one.
        "pull_policy": "never",
        "restart": "no" if item["id"] in once else "unless-stopped",
        "logging": _LOGGING,
        "security_opt": ["no-new-privileges:true"],
    }
    parts = {
        **_process(item, decided.keys),
        **_network(item, decided.published),
        **_host(item, decided.install_dir),
        "healthcheck": _healthcheck(item["healthcheck"]) if "healthcheck" in item else None,
        "depends_on": {
            key: {"condition": _CONDITIONS[how]}
            for key, how in (item.get("depends_on") or {}).items()
            if key in there
        },
        "deploy": _deploy(item, decided.cards.get(item["id"])),
    }
    service.update({key: part for key, part in parts.items() if part})
    if item["id"] in decided.contents:
        service["labels"] = {FILES_LABEL: decided.contents[item["id"]]}
    return service


def _process(item: Service, keys: Mapping[str, str]) -> ComposeService:
    """Return the command and environment of the container."""
    environment = item.get("environment") or {}
    return {
        "entrypoint": [value(word, keys) for word in item.get("entrypoint", ())],
        "command": [value(word, keys) for word in item.get("command", ())],
        "user": value(item["user"], keys) if "user" in item else None,
        "environment": {key: value(environment[key], keys) for key in sorted(environment)},
    }


def _network(item: Service, published: Sequence[StackPort]) -> ComposeService:
    if "network_mode" in item:
        return {"network_mode": item["network_mode"]}
    return {
        "networks": list(item.get("networks", ["default"])),
        "ports": [_port(port) for port in published if port["service"] == item["id"]],
    }


def _host(item: Service, install_dir: str) -> ComposeService:
    """Return what the container uses of the host: ports, volumes, devices."""
    return {
        "volumes": [_volume(volume, install_dir) for volume in item.get("volumes", ())],
        "devices": [f"{device}:{device}" for device in item.get("devices", ())],
        "group_add": list(item.get("groups", ())),
        "cap_add": item.get("capabilities"),
        "shm_size": item.get("shm_size"),
    }


def _port(port: StackPort) -> ComposeService:
    return {
        "target": port["container"],
        "published": str(port["port"]),
        "host_ip": port["address"],
        "protocol": "tcp",
    }


def _volume(volume: ServiceVolume, install_dir: str) -> ComposeService:
    bound = volume["kind"] != "named"
    source = f"{install_dir}/{volume['source']}" if bound else volume["source"]
    mount: ComposeService = {
        "type": "bind" if bound else "volume",
        "source": escape(source),
        "target": volume["target"],
    }
    if volume.get("read_only"):
        mount["read_only"] = True
    if bound:
        # Otherwise the engine would create a missing directory as root and hide our mistake.
        mount["bind"] = {"create_host_path": False, "selinux": "z"}
    return mount


def _healthcheck(check: Healthcheck) -> ComposeService:
    if "url" in check:
        test = ["CMD-SHELL", escape(_ASK.replace("{url}", f"'{check['url']}'"))]
    else:
        test = ["CMD", *(escape(word) for word in check["exec"])]
    return {
        "test": test,
        "interval": f"{check['interval_seconds']}s",
        "timeout": f"{check['timeout_seconds']}s",
        "retries": check["retries"],
        "start_period": f"{check['start_seconds']}s",
    }


def _deploy(item: Service, cards: Sequence[str] | None) -> ComposeService:
    limits: ComposeService = {}
    reservations: ComposeService = {}
    if "cpus" in item:
        limits["cpus"] = f"{item['cpus']:g}"
    if "memory_mb" in item:
        limits["memory"] = f"{item['memory_mb']}M"
    if "reserve_mb" in item:
        reservations["memory"] = f"{item['reserve_mb']}M"
    if "gpus" in item:
        device: ComposeService = {"driver": "nvidia", "capabilities": ["gpu"]}
        if cards:
            device["device_ids"] = list(cards)
        else:
            device["count"] = 1 if item["gpus"] == "one" else "all"
        reservations["devices"] = [device]
    found = {"limits": limits, "reservations": reservations}
    kept = {key: part for key, part in found.items() if part}
    return {"resources": kept} if kept else {}


def value(source: Any, keys: Mapping[str, str]) -> str:
    """Return a value of the catalogue in the syntax of compose.

    A decided key is written out; any other key stays a reference to ``.env``.
    """
    if isinstance(source, str):
        return escape(source)
    if "template" in source:
        return _TEMPLATE.sub(lambda match: _key(match[1], match[2], keys), source["template"])
    if "first_of" in source:
        text = source["default"]
        for name in reversed(source["first_of"]):
            text = escape(keys[name]) if name in keys else f"${{{name}:-{text}}}"
        return str(text)
    return _key(source["key"], source.get("default"), keys)


_TEMPLATE = re.compile(r"\{([A-Z][A-Z0-9_]*)(?:\|([^}]*))?\}")


def _key(name: str, default: str | None, keys: Mapping[str, str]) -> str:
    if name in keys:
        return escape(keys[name])
    if default is None:
        return f"${{{name}:?}}"
    return f"${{{name}:-{default}}}"


def escape(text: str) -> str:
    """Return text escaped so that compose does not interpolate it."""
    return text.replace("$", "$$")
