"""The containers of a compose project, as the engine describes them."""

from __future__ import annotations

from typing import List

from .. import layout
from ..types.service import Container, EngineJson
from . import engine


def look(command: str, project: str) -> List[Container]:
    """Return the containers of a compose project in any state."""
    label = "label=%s=%s" % (layout.PROJECT_LABEL, project)
    ids = engine.lines(command, "ps", "--all", "--quiet", "--no-trunc", "--filter", label)
    return [_container(item) for item in engine.inspect(command, "container", ids)]


def _container(item: EngineJson) -> Container:
    labels, state = item["Config"].get("Labels") or {}, item["State"]
    host = item.get("HostConfig") or {}
    bindings = host.get("PortBindings") or {}
    return {
        "id": item["Id"],
        "name": item["Name"].lstrip("/"),
        "service": labels.get(layout.SERVICE_LABEL, ""),
        "hash": labels.get(layout.HASH_LABEL, ""),
        "directory": labels.get(layout.DIRECTORY_LABEL, ""),
        "labels": labels,
        "image": item["Config"].get("Image", ""),
        "state": state["Status"],
        "exit_code": int(state.get("ExitCode") or 0),
        "health": (state.get("Health") or {}).get("Status", ""),
        "restarts": int(item.get("RestartCount") or 0),
        "policy": (host.get("RestartPolicy") or {}).get("Name") or "no",
        "networks": sorted((item.get("NetworkSettings") or {}).get("Networks") or {}),
        "environment": dict(
            pair.split("=", 1) for pair in item["Config"].get("Env") or () if "=" in pair
        ),
        "command": item["Config"].get("Cmd") or [],
        "ports": [
            "%s:%s:%s" % (bound["HostIp"], bound["HostPort"], port.split("/")[0])
            for port, places in bindings.items()
            for bound in places or ()
        ],
    }
