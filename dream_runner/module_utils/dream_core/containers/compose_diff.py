"""Fit a compose project to an engine, and find what differs from the containers that run. Pure."""

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
    """Return the project as this engine accepts it.

    ``engine`` is what ``docker info`` says; ``groups`` are the host's groups by name;
    ``images`` gives what goes by another name in this engine's store.
    A limit that the engine cannot set makes it refuse the whole container, and one
    above its processors as well.
    """
    services = {
        name: _fitted(
            dict(service, image=images.get(service["image"], service["image"])), engine, groups
        )
        for name, service in project["services"].items()
    }
    return {**project, "services": services}


#: The first engine that looks more often while a container starts.
_START_INTERVAL_MAJOR = 25


def _major(engine: EngineJson) -> int:
    found = re.match(r"\d+", str(engine.get("ServerVersion") or ""))
    return int(found[0]) if found else 0


def _fitted(
    service: ComposeService, engine: EngineJson, groups: Mapping[str, int]
) -> ComposeService:
    fitted = dict(service)
    if "group_add" in fitted:
        # By number: the names are the host's, and few images know them.
        fitted["group_add"] = [str(groups[name]) for name in fitted["group_add"] if name in groups]
    if "healthcheck" in fitted and _major(engine) >= _START_INTERVAL_MAJOR:
        # Else the first look comes after a whole interval, and everybody waits for it.
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
    """Return the steps from what runs to what should: ``{service, action, why, remove}``.

    ``wanted`` is the config hash of each service, from compose itself; ``containers``
    come from ``project_containers.look``. ``remove`` are container ids that have to go
    first. Nothing is due twice: after the steps this returns an empty list.
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
    lies_there: Callable[[str], Optional[str]],
) -> List[Step]:
    """Return the containers to remove before what they mount or read is made anew.

    ``files`` are those of the stack; ``lies_there`` returns the text of a path, None where there is
    nothing. A container that is made anew for a change of its files stays until then.
    """
    steps = []
    for container in containers:
        service = project["services"].get(container["service"])
        if service is None:
            continue
        labels = service.get("labels", {})
        kept = container["labels"].get(FILES_LABEL) == labels.get(FILES_LABEL)
        read = [item for item in files if kept and _is_mounted(item["path"], service)]
        why = _gone(service, lies_there) or _edited(read, lies_there)
        if why:
            steps.append(_step("remove", container["service"], why, [container["id"]]))
    return steps


def _bound(service: ComposeService) -> List[str]:
    """Return the paths of the host that a service has mounted."""
    volumes = [item for item in service.get("volumes", ()) if item["type"] == "bind"]
    return [item["source"].replace("$$", "$") for item in volumes]


def _is_mounted(path: str, service: ComposeService) -> bool:
    return any((path + "/").startswith(source + "/") for source in _bound(service))


def _gone(service: ComposeService, lies_there: Callable[[str], Optional[str]]) -> str:
    gone = [path for path in _bound(service) if lies_there(path) is None]
    return "%s, which it has mounted, is gone" % gone[0] if gone else ""


def _edited(files: Sequence[Mapping[str, str]], lies_there: Callable[[str], Optional[str]]) -> str:
    for item in files:
        if lies_there(item["path"]) != item["content"]:
            return "%s, which it reads, is not as it was written" % item["path"]
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
    # Compose renames the old container before it makes the new one: whatever bears another
    # name was left by a run that was stopped there.
    stray = [item["id"] for item in found if item not in proper]
    if not proper:
        why = "a stopped run left it half replaced" if stray else "it was not there"
        return [_step("create", name, why, stray)]
    container = proper[0]
    if container["hash"] != wanted:
        return [_step("recreate", name, difference(service, container, env), stray)]
    if stray:
        return [_step("start", name, "a stopped run left a second one", stray)]
    altered = _altered(project, service, container)
    if altered:
        # Compose sees no difference, and would leave or start it as it is.
        return [_step("create", name, altered, [container["id"]])]
    if service["restart"] == "no":
        return _once_due(name, container)
    if container["state"] not in ("running", "restarting"):
        return [_step("start", name, "it was %s" % _state(container))]
    return []


def _altered(project: Project, service: ComposeService, container: Container) -> str:
    """Return what was done to a container that its hash does not show, or an empty string."""
    if container["state"] == "paused":
        return "it was paused"
    if container["policy"] != service["restart"]:
        return "its restart policy was changed to %s" % container["policy"]
    wanted = {"%s_%s" % (project["name"], key) for key in service.get("networks", ())}
    lost = sorted(wanted - set(container["networks"]))
    return "it was taken off the network %s" % lost[0] if lost else ""


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
    """Return what of a container is not as wanted, in words and without any value.

    Only for the eye: that it differs at all is known by its hash.
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
    """Return a rendered value as a container gets it; ``env`` is what ``.env`` holds."""
    # An escaped dollar is no reference, whatever follows it.
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
