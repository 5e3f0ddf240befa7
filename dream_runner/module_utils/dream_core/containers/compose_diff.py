"""The compose project: rendered from services, fitted to an engine, compared with what runs.

Pure. Secrets and what a user may override stay references to ``.env``
(``${KEY}``); everything that was decided stands in the file as it is.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence

Project = Dict[str, Any]

#: The label by which a container is known to have read its present configuration files.
FILES_LABEL = "dream-runner.files"

#: Compose's own labels, by which a container is known to be ours.
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
HASH_LABEL = "com.docker.compose.config-hash"
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"

_LOGGING = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}

_CONDITIONS = {
    "started": "service_started",
    "healthy": "service_healthy",
    "completed": "service_completed_successfully",
}

#: An image may have any one of these, and hardly two.
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


# --- rendering ------------------------------------------------------------------


class Decided(NamedTuple):
    """What is known of all services when one is rendered.

    ``images`` gives each service's reference, ``published`` the ports, ``cards`` the
    GPUs by id of those that get assigned ones, ``contents`` a digest of what each
    service reads at its start.
    """

    install_dir: str
    keys: Mapping[str, str]
    images: Mapping[str, str]
    published: Sequence[Mapping[str, Any]]
    cards: Mapping[str, Sequence[str]]
    contents: Mapping[str, str]


def render(
    services: Sequence[Mapping[str, Any]],
    decided: Decided,
    *,
    name: str,
    networks: Mapping[str, Any],
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
    named: Dict[str, Any] = {
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
    item: Mapping[str, Any], decided: Decided, there: Collection[str], once: Collection[str]
) -> Dict[str, Any]:
    service: Dict[str, Any] = {
        "image": decided.images[item["id"]],
        # The images phase has it, verified; compose must never look for another one.
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


def _process(item: Mapping[str, Any], keys: Mapping[str, str]) -> Dict[str, Any]:
    """Return what runs in the container, and what it is told."""
    environment = item.get("environment") or {}
    return {
        "entrypoint": [value(word, keys) for word in item.get("entrypoint", ())],
        "command": [value(word, keys) for word in item.get("command", ())],
        "user": value(item["user"], keys) if "user" in item else None,
        "environment": {key: value(environment[key], keys) for key in sorted(environment)},
    }


def _network(item: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    if "network_mode" in item:
        return {"network_mode": item["network_mode"]}
    return {
        "networks": list(item.get("networks", ["default"])),
        "ports": [_port(port) for port in published if port["service"] == item["id"]],
    }


def _host(item: Mapping[str, Any], install_dir: str) -> Dict[str, Any]:
    """Return what the container has of the host."""
    return {
        "volumes": [_volume(volume, install_dir) for volume in item.get("volumes", ())],
        "devices": ["%s:%s" % (device, device) for device in item.get("devices", ())],
        "group_add": list(item.get("groups", ())),
        "cap_add": item.get("capabilities"),
        "shm_size": item.get("shm_size"),
    }


def _port(port: Mapping[str, Any]) -> Dict[str, Any]:
    return {
        "target": port["container"],
        "published": str(port["port"]),
        "host_ip": port["address"],
        "protocol": "tcp",
    }


def _volume(volume: Mapping[str, Any], install_dir: str) -> Dict[str, Any]:
    bound = volume["kind"] != "named"
    source = "%s/%s" % (install_dir, volume["source"]) if bound else volume["source"]
    mount: Dict[str, Any] = {
        "type": "bind" if bound else "volume",
        "source": escape(source),
        "target": volume["target"],
    }
    if volume.get("read_only"):
        mount["read_only"] = True
    if bound:
        # A directory that is missing is a mistake of ours: the engine would make it as root.
        mount["bind"] = {"create_host_path": False, "selinux": "z"}
    return mount


def _healthcheck(check: Mapping[str, Any]) -> Dict[str, Any]:
    if "url" in check:
        test = ["CMD-SHELL", escape(_ASK.replace("{url}", "'%s'" % check["url"]))]
    else:
        test = ["CMD", *(escape(word) for word in check["exec"])]
    return {
        "test": test,
        "interval": "%ds" % check["interval_seconds"],
        "timeout": "%ds" % check["timeout_seconds"],
        "retries": check["retries"],
        "start_period": "%ds" % check["start_seconds"],
    }


def _deploy(item: Mapping[str, Any], cards: Optional[Sequence[str]]) -> Dict[str, Any]:
    limits: Dict[str, Any] = {}
    reservations: Dict[str, Any] = {}
    if "cpus" in item:
        limits["cpus"] = "%g" % item["cpus"]
    if "memory_mb" in item:
        limits["memory"] = "%dM" % item["memory_mb"]
    if "reserve_mb" in item:
        reservations["memory"] = "%dM" % item["reserve_mb"]
    if "gpus" in item:
        device: Dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
        if cards:
            device["device_ids"] = list(cards)
        else:
            device["count"] = 1 if item["gpus"] == "one" else "all"
        reservations["devices"] = [device]
    found = {"limits": limits, "reservations": reservations}
    kept = {key: part for key, part in found.items() if part}
    return {"resources": kept} if kept else {}


# --- values ---------------------------------------------------------------------


def value(source: Any, keys: Mapping[str, str]) -> str:
    """Return a value of the catalogue as compose reads it.

    A key that was decided is written out; any other one is left to ``.env``.
    """
    if isinstance(source, str):
        return escape(source)
    if "template" in source:
        return _TEMPLATE.sub(lambda match: _key(match[1], match[2], keys), source["template"])
    if "first_of" in source:
        text = source["default"]
        for name in reversed(source["first_of"]):
            text = escape(keys[name]) if name in keys else "${%s:-%s}" % (name, text)
        return str(text)
    return _key(source["key"], source.get("default"), keys)


def literal(source: Any, keys: Mapping[str, str]) -> str:
    """Return a value that holds nothing but text and decided keys, as plain text."""
    return value(source, keys).replace("$$", "$")


_TEMPLATE = re.compile(r"\{([A-Z][A-Z0-9_]*)(?:\|([^}]*))?\}")


def _key(name: str, default: Optional[str], keys: Mapping[str, str]) -> str:
    if name in keys:
        return escape(keys[name])
    if default is None:
        return "${%s:?}" % name
    return "${%s:-%s}" % (name, default)


def escape(text: str) -> str:
    """Return text that compose takes as it is."""
    return text.replace("$", "$$")


# --- fitting --------------------------------------------------------------------


def fit(
    project: Project,
    engine: Mapping[str, Any],
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
    return dict(project, services=services)


#: The first engine that looks more often while a container starts.
_START_INTERVAL_MAJOR = 25


def _major(engine: Mapping[str, Any]) -> int:
    found = re.match(r"\d+", str(engine.get("ServerVersion") or ""))
    return int(found[0]) if found else 0


def _fitted(
    service: Mapping[str, Any], engine: Mapping[str, Any], groups: Mapping[str, int]
) -> Dict[str, Any]:
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
    containers: Sequence[Mapping[str, Any]],
    env: Mapping[str, str],
) -> List[Dict[str, Any]]:
    """Return the steps from what runs to what should: ``{service, action, why, remove}``.

    ``wanted`` is the config hash of each service, from compose itself; ``containers``
    come from ``containers.look``. ``remove`` are container ids that have to go
    first. Nothing is due twice: after the steps this returns an empty list.
    """
    by_service: Dict[str, List[Mapping[str, Any]]] = {}
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
    containers: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, str]],
    lies_there: Callable[[str], Optional[str]],
) -> List[Dict[str, Any]]:
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


def _bound(service: Mapping[str, Any]) -> List[str]:
    """Return the paths of the host that a service has mounted."""
    volumes = [item for item in service.get("volumes", ()) if item["type"] == "bind"]
    return [item["source"].replace("$$", "$") for item in volumes]


def _is_mounted(path: str, service: Mapping[str, Any]) -> bool:
    return any((path + "/").startswith(source + "/") for source in _bound(service))


def _gone(service: Mapping[str, Any], lies_there: Callable[[str], Optional[str]]) -> str:
    gone = [path for path in _bound(service) if lies_there(path) is None]
    return "%s, which it has mounted, is gone" % gone[0] if gone else ""


def _edited(files: Sequence[Mapping[str, str]], lies_there: Callable[[str], Optional[str]]) -> str:
    for item in files:
        if lies_there(item["path"]) != item["content"]:
            return "%s, which it reads, is not as it was written" % item["path"]
    return ""


def _step(action: str, service: str, why: str, remove: Sequence[str] = ()) -> Dict[str, Any]:
    return {"service": service, "action": action, "why": why, "remove": list(remove)}


def _service_due(
    project: Project,
    name: str,
    wanted: str,
    found: Sequence[Mapping[str, Any]],
    env: Mapping[str, str],
) -> List[Dict[str, Any]]:
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


def _altered(project: Project, service: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """Return what was done to a container that its hash does not show, or an empty string."""
    if container["state"] == "paused":
        return "it was paused"
    if container["policy"] != service["restart"]:
        return "its restart policy was changed to %s" % container["policy"]
    wanted = {"%s_%s" % (project["name"], key) for key in service.get("networks", ())}
    lost = sorted(wanted - set(container["networks"]))
    return "it was taken off the network %s" % lost[0] if lost else ""


def _once_due(name: str, container: Mapping[str, Any]) -> List[Dict[str, Any]]:
    done = container["state"] == "running" or (
        container["state"] == "exited" and not container["exit_code"]
    )
    return [] if done else [_step("start", name, "it was %s" % _state(container))]


def _state(container: Mapping[str, Any]) -> str:
    if container["state"] == "exited":
        return "stopped with status %s" % container["exit_code"]
    return str(container["state"])


def difference(
    service: Mapping[str, Any], container: Mapping[str, Any], env: Mapping[str, str]
) -> str:
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


def _wanted_ports(service: Mapping[str, Any]) -> List[str]:
    return sorted(
        "%s:%s:%s" % (port["host_ip"], port["published"], port["target"])
        for port in service.get("ports", ())
    )
