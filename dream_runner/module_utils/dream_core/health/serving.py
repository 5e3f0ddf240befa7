"""Query the engine of this installation, and check that no other program answers.

The receipts hold its address, its API and its supervisor. An answer from another program on its
port does not count.
"""

from __future__ import annotations

import os
from typing import Any, List, Optional, Sequence
from urllib.parse import urlsplit

from ..containers import engine, project_containers
from ..errors import DreamError, EngineError
from ..native.supervisord_state import program_info
from ..network import listeners
from ..system import ip_addresses, systemd
from ..types.health import Asked, Endpoint
from ..types.host import Listener
from ..types.receipt import PhaseFacts, Receipts
from ..types.resource import Resource
from . import ask_model
from .engine_key import api_key

_HEALTH_SECONDS = 5.0
#: Seconds after which the user is told that the engine is busy.
_PERSON_SECONDS = 0.4
#: Programs that publish a container's port on the host; None stands for another user's program.
_PUBLISHERS = (None, "docker-proxy", "rootlessport", "rootlesskit", "dockerd")


def endpoint(receipts: Receipts) -> Endpoint:
    """Return ``{url, health, path, model, key_file}`` of the engine; ``url`` is empty if unknown.

    They come from the last proof of the health phase or, before the first one, from the recorded
    port.
    """
    proof = _facts(receipts, "health").get("proof") or {}
    url = str(proof.get("url") or _url(*_address(receipts)))
    return {
        "url": url,
        "health": str(proof.get("health_path") or "/health"),
        "path": str(proof.get("api_path") or ""),
        "model": str(proof.get("model") or _facts(receipts, "health").get("model") or ""),
        "key_file": str(proof.get("key_file") or ""),
    }


def _facts(receipts: Receipts, phase: str) -> PhaseFacts:
    found: PhaseFacts = (receipts.get(phase) or {}).get("facts") or {}
    return found


def _address(receipts: Receipts) -> Any:
    for phase in ("services", "requirements"):
        for resource in (receipts.get(phase) or {}).get("resources", []):
            if resource["kind"] == "port":
                return str(resource.get("address") or "127.0.0.1"), int(resource["port"])
    facts = _facts(receipts, "requirements")
    return str(facts.get("bind_address") or "127.0.0.1"), int(facts.get("engine_port") or 0)


def _url(address: str, port: int) -> str:
    if not port:
        return ""
    return ip_addresses.base_url(ip_addresses.reachable(address, ip_addresses.loopbacks()), port)


def ask(receipts: Receipts, timeout_seconds: float, *, trusting: bool = False) -> Asked:
    """Ask the engine one question; return the observations on the way.

    ``{url, listening, holder, ours, healthy, model, answer, answers, busy, seconds, why}``.
    ``answers`` is true only for our own program, and also if it is ``busy``.
    """
    place = endpoint(receipts)
    if not place["url"]:
        return {"why": "no phase has recorded a port yet"}
    found: Asked = {"url": place["url"]}
    host, port = _split(place["url"])
    listener = listener_at(host, port, _units(receipts))
    if listener is None:
        return {**found, "why": "nothing listens on port %d" % port}
    found["listening"] = True
    found["holder"] = listeners.holder(listener)
    found["ours"] = is_ours(receipts, listener)
    if not found["ours"]:
        why = "port %d is in use by %s, which is not the engine" % (port, found["holder"])
        return {**found, "why": why}
    return _converse(place, found, timeout_seconds, trusting)


def _converse(place: Endpoint, found: Asked, timeout_seconds: float, trusting: bool) -> Asked:
    base, key = place["url"] + place["path"], api_key(place["key_file"])
    try:
        found["healthy"] = ask_model.get(place["url"] + place["health"])["status"] == 200
        found["model"] = ask_model.served(base, key, _HEALTH_SECONDS)
        said = ask_model.complete(
            base,
            place["model"] or found["model"],
            timeout_seconds,
            key=key,
            trusting=trusting,
            patience_seconds=_PERSON_SECONDS if trusting else ask_model.PATIENCE_SECONDS,
        )
    except DreamError as error:
        return {**found, "why": error.what}
    return {
        **found,
        "answer": said["text"],
        "answers": True,
        "busy": said["busy"],
        "seconds": round(said["seconds"], 2),
    }


def _split(url: str) -> Any:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


# --- the owner of a listener --------------------------------------------------------------------


def _units(receipts: Receipts) -> List[str]:
    resources = (receipts.get("services") or {}).get("resources", [])
    return [str(item["name"]) for item in resources if item["kind"] == "unit"]


def listener_at(host: str, port: int, names: Sequence[str]) -> Optional[Listener]:
    """Return the listener for connections to ``host``; the most specific address wins."""
    seen = listeners.listeners([port], own_units=names)
    found = {ip_addresses.canonical(item["address"]): item for item in seen}
    place = ip_addresses.canonical(host)
    ways = (place, "::") if ":" in place else (place, "0.0.0.0", "::")
    return next((found[way] for way in ways if way in found), None)


def is_ours(receipts: Receipts, listener: Listener) -> bool:
    """Return whether a listener is the engine's process, or holds the port of its container."""
    resources = (receipts.get("services") or {}).get("resources", [])
    if any(item["kind"] == "container" for item in resources):
        return listener["name"] in _PUBLISHERS and _is_published(receipts, listener["port"])
    if listener["pid"] is None:
        return False
    if listener["own"] and listener["uid"] == os.geteuid():
        # The process is in the unit's control group.
        return True
    pids = [_main_pid(item) for item in resources if item["kind"] in ("unit", "supervisor")]
    return listener["pid"] in pids


def _main_pid(resource: Resource) -> Optional[int]:
    if resource["kind"] == "supervisor":
        said = program_info(str(resource["config"]), str(resource["program"])) or {}
    else:
        said = systemd.show(str(resource["name"]), str(resource["scope"]), ("MainPID",))
    pid = int(said.get("pid") or said.get("MainPID") or 0)
    return pid or None


def _is_published(receipts: Receipts, port: int) -> bool:
    """Return whether a running container of ours publishes the port; true if it is unknown."""
    services = _facts(receipts, "services")
    command = str(_facts(receipts, "docker").get("command") or "docker")
    project = str(services.get("project") or "")
    try:
        try:
            seen = project_containers.look(command, project)
        except EngineError:
            # Until the next login after an install only root may use the engine; sudo is not used
            # here.
            seen = project_containers.look(engine.as_root(command) or command, project)
    except EngineError:
        return os.geteuid() != 0
    return any(item["state"] == "running" and _publishes(item["ports"], port) for item in seen)


def _publishes(ports: Sequence[str], port: int) -> bool:
    places: List[str] = [place.rsplit(":", 2)[1] for place in ports]
    return str(port) in places
