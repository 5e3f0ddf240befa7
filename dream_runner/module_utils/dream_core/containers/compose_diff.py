"""Adapt a compose project to an engine, and compare it with the running containers. Pure."""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from ..layout import FILES_LABEL
from ..types.compose import ComposeService, Project, Step
from ..types.service import Container, EngineJson

# --- fitting --------------------------------------------------------------------


def fit(
    project: Project,
    engine: EngineJson,
    groups: Mapping[str, int],
    images: Mapping[str, str],
) -> Project:
    """Return the project adapted to this engine.

    ``engine`` is the output of ``docker info``; ``groups`` are the host's groups by name;
    ``images`` maps images to their other name in this engine's store. An engine refuses a whole
    container because of a limit that it cannot set, or a limit above its number of processors.
    """
    services = {
        name: _fitted(
            dict(service, image=images.get(service["image"], service["image"])), engine, groups
        )
        for name, service in project["services"].items()
    }
    return {**project, "services": services}


#: The first engine version that checks health more often while a container starts.
_START_INTERVAL_MAJOR = 25


def _major(engine: EngineJson) -> int:
    found = re.match(r"\d+", str(engine.get("ServerVersion") or ""))
    return int(found[0]) if found else 0


def _fitted(
    service: ComposeService, engine: EngineJson, groups: Mapping[str, int]
) -> ComposeService:
    fitted = dict(service)
    if "group_add" in fitted:
        # By number: few images know the group names of the host.
        fitted["group_add"] = [str(groups[name]) for name in fitted["group_add"] if name in groups]
    if "healthcheck" in fitted and _major(engine) >= _START_INTERVAL_MAJOR:
        # Otherwise the first check runs after a whole interval, and everything waits for it.
        fitted["healthcheck"] = dict(fitted["healthcheck"], start_interval="2s")
    resources = {
        key: dict(part) for key, part in fitted.get("deploy", {}).get("resources", {}).items()
    }
    limits = resources.get("limits", {})
    if "cpus" in limits:
        most = float(engine.get("NCPU") or 0)
        if not engine.get("CpuCfsQuota", True):
            del limits["cpus"]
        elif most and float(limits["cpus"]) > most:
            limits["cpus"] = "%g" % most
    if not engine.get("MemoryLimit", True):
        limits.pop("memory", None)
        resources.get("reservations", {}).pop("memory", None)
    if "deploy" in fitted:
        kept = {key: part for key, part in resources.items() if part}
        fitted.pop("deploy")
        if kept:
            fitted["deploy"] = {"resources": kept}
    return fitted


# --- comparing ------------------------------------------------------------------


def due(
    project: Project,
    wanted: Mapping[str, str],
    containers: Sequence[Container],
    env: Mapping[str, str],
) -> List[Step]:
    """Return the steps to the wanted state: ``{service, action, why, remove}``.

    ``wanted`` is the config hash of each service, from compose itself; ``containers`` come from
    ``project_containers.look``. ``remove`` holds the ids of containers to remove first. After the
    steps have run, this returns an empty list.
    """
    by_service: Dict[str, List[Container]] = {}
    for container in containers:
        by_service.setdefault(str(container["service"]), []).append(container)
    steps = [
        _step("remove", name, "it was switched off", [item["id"] for item in found])
        for name, found in sorted(by_service.items())
        if name not in project["services"]
    ]
    for name in project["services"]:
        found = by_service.get(name, [])
        steps += _service_due(project, name, wanted.get(name, ""), found, env)
    return steps


def stale(
    project: Project,
    containers: Sequence[Container],
    files: Sequence[Mapping[str, str]],
    text_at: Callable[[str], Optional[str]],
) -> List[Step]:
    """Return the containers to remove before the files that they mount or read are recreated.

    ``files`` are those of the stack; ``text_at`` returns the text at a path, or None if nothing
    is there. A container that will be recreated because its files changed stays until then.
    """
    steps = []
    for container in containers:
        service = project["services"].get(container["service"])
        if service is None:
            continue
        labels = service.get("labels", {})
        kept = container["labels"].get(FILES_LABEL) == labels.get(FILES_LABEL)
        read = [item for item in files if kept and _is_mounted(item["path"], service)]
        why = _gone(service, text_at) or _edited(read, text_at)
        if why:
            steps.append(_step("remove", container["service"], why, [container["id"]]))
    return steps


def _bound(service: ComposeService) -> List[str]:
    """Return the host paths that a service mounts."""
    volumes = [item for item in service.get("volumes", ()) if item["type"] == "bind"]
    return [item["source"].replace("$$", "$") for item in volumes]


def _is_mounted(path: str, service: ComposeService) -> bool:
    return any((path + "/").startswith(source + "/") for source in _bound(service))


def _gone(service: ComposeService, text_at: Callable[[str], Optional[str]]) -> str:
    gone = [path for path in _bound(service) if text_at(path) is None]
    return "its mounted path %s is missing" % gone[0] if gone else ""


def _edited(files: Sequence[Mapping[str, str]], text_at: Callable[[str], Optional[str]]) -> str:
    for item in files:
        if text_at(item["path"]) != item["content"]:
            return "its configuration file %s was changed by another program" % item["path"]
    return ""


def _step(action: str, service: str, why: str, remove: Sequence[str] = ()) -> Step:
    return {"service": service, "action": action, "why": why, "remove": list(remove)}


def _service_due(
    project: Project,
    name: str,
    wanted: str,
    found: Sequence[Container],
    env: Mapping[str, str],
) -> List[Step]:
    service = project["services"][name]
    proper = [item for item in found if item["name"] == "%s-%s-1" % (project["name"], name)]
    # Compose renames the old container before it creates the new one; a container with another name
    # was left by a run that was interrupted between the two.
    stray = [item["id"] for item in found if item not in proper]
    if not proper:
        why = "an interrupted run left it half replaced" if stray else "it was missing"
        return [_step("create", name, why, stray)]
    container = proper[0]
    if container["hash"] != wanted:
        return [_step("recreate", name, difference(service, container, env), stray)]
    if stray:
        return [_step("start", name, "an interrupted run left a second container", stray)]
    altered = _altered(project, service, container)
    if altered:
        # Compose sees no difference here and would not recreate the container.
        return [_step("create", name, altered, [container["id"]])]
    if service["restart"] == "no":
        return _once_due(name, container)
    if container["state"] not in ("running", "restarting"):
        return [_step("start", name, "it was %s" % _state(container))]
    return []


def _altered(project: Project, service: ComposeService, container: Container) -> str:
    """Return a change to a container that its hash does not show, or an empty string."""
    if container["state"] == "paused":
        return "it was paused"
    if container["policy"] != service["restart"]:
        return "its restart policy was changed to %s" % container["policy"]
    wanted = {"%s_%s" % (project["name"], key) for key in service.get("networks", ())}
    lost = sorted(wanted - set(container["networks"]))
    return "it was disconnected from the network %s" % lost[0] if lost else ""


def _once_due(name: str, container: Container) -> List[Step]:
    done = container["state"] == "running" or (
        container["state"] == "exited" and not container["exit_code"]
    )
    return [] if done else [_step("start", name, "it was %s" % _state(container))]


def _state(container: Container) -> str:
    if container["state"] == "exited":
        return "stopped with status %s" % container["exit_code"]
    return str(container["state"])


def difference(service: ComposeService, container: Container, env: Mapping[str, str]) -> str:
    """Describe how a container differs from the wanted one, without any value.

    This is only for display; the hash decides whether it differs.
    """
    found = []
    if container["image"] != service["image"]:
        found.append("image")
    asked = service.get("environment", {})
    has = container["environment"]
    changed = sorted(key for key in asked if has.get(key) != filled(asked[key], env))
    if changed:
        found.append("environment (%s)" % ", ".join(changed))
    command = [filled(word, env) for word in service.get("command", ())]
    if command and command != container["command"]:
        found.append("command")
    if service.get("labels", {}).get(FILES_LABEL) != container["labels"].get(FILES_LABEL):
        found.append("configuration files")
    if _wanted_ports(service) != sorted(container["ports"]):
        found.append("ports")
    return "changed: " + ", ".join(found or ["its settings"])


_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+):(?:\?|-([^${}]*))\}")


def filled(text: str, env: Mapping[str, str]) -> str:
    """Return a rendered value as the container receives it; ``env`` is the content of ``.env``."""
    # An escaped dollar does not begin a reference, whatever follows it.
    text = text.replace("$$", "\0")
    before = ""
    while before != text:
        before = text
        text = _REFERENCE.sub(lambda match: env.get(match[1]) or match[2] or "", text)
    return text.replace("\0", "$")


def _wanted_ports(service: ComposeService) -> List[str]:
    return sorted(
        "%s:%s:%s" % (port["host_ip"], port["published"], port["target"])
        for port in service.get("ports", ())
    )
