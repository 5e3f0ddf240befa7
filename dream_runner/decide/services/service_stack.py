"""Decide which containers run on a host, from choices, facts, catalogue and lock. Pure.

A service runs if it is core, recommended, or needed by a feature or another service. The
result has everything that later phases need: images by digest, ports, keys of ``.env``,
directories, files, the compose project, and the resources that receipts record beforehand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...catalog import entries
from ...module_utils.dream_core.containers.references import pinned
from ...module_utils.dream_core.system import ip_addresses
from ...module_utils.dream_core.types.choice import (
    Choice,
    HelperModel,
    Model,
    Stack,
    StackDirectory,
    StackFile,
    StackImage,
    StackPort,
    StackProblem,
)
from ...module_utils.dream_core.types.compose import Healthcheck, Project, Service
from ...module_utils.dream_core.types.facts import Facts
from ...module_utils.dream_core.types.host import Listener
from ...module_utils.dream_core.types.receipt import Receipts
from ...module_utils.dream_core.types.resource import Resource
from ...module_utils.dream_core.types.service import ServiceSummary
from ...module_utils.dream_core.types.settings import SettingValues
from .. import ports
from . import compose_file
from .service_selection import (
    ENGINE,
    laid_over,
    obstacle,
    unasked,
    variants_of,
    with_needs,
)

_DIRECTORY_MODE = "0755"
#: The models phase downloads into this directory; containers do not write to it.
_MODELS = "data/models"


def resolve(
    settings: SettingValues,
    facts: Facts,
    choice: Choice,
    catalog: Any,
    receipts: Receipts,
    listeners: Sequence[Listener] = (),
    loopbacks: Sequence[str] = ip_addresses.LOOPBACKS,
) -> Stack:
    """Return ``dream_choice.stack``; see the module's docstring.

    ``choice`` has the decisions so far: backend, features, model, engine_port, gpu_assignment.
    ``problems`` in the result make the requirements phase fail; the plan can still be shown.
    """
    known = {item["id"]: item for item in catalog.services["services"]}
    variants = variants_of(settings, facts, choice)
    asked = [*unasked(known, catalog.features), *choice["features"]["services"]]
    able = {name for name in known if not obstacle(known[name], facts, str(choice["backend"]))}
    wanted = with_needs(asked, known, able)
    services = [laid_over(known[name], variants, wanted) for name in known if name in wanted]
    published = ports.choose_all(
        services, choice["engine_port"], receipts, listeners, settings, loopbacks
    )
    keys = _keys(settings, choice, published)
    images, problems = _images(services, catalog.images, str(facts.get("arch")))
    files = _files(services, wanted, keys, str(settings["install_dir"]))
    decided = compose_file.Decided(
        install_dir=str(settings["install_dir"]),
        keys=keys,
        images={item["service"]: item["reference"] or item["tag"] for item in images},
        published=published,
        cards=_cards(services, choice),
        contents=_contents_by_service(files),
    )
    project = compose_file.render(
        services,
        decided,
        name=catalog.services["project"],
        networks=catalog.services["networks"],
    )
    engine = next(item for item in services if item["id"] == ENGINE)
    helpers = _helpers(services, catalog.models)
    return {
        "project": catalog.services["project"],
        "services": [_summary(item, services, published, loopbacks, choice) for item in services],
        "images": images,
        "ports": published,
        "environment": keys,
        "secrets": sorted({key for item in services for key in item.get("secrets", ())}),
        "models": helpers,
        "directories": _directories(services, helpers, str(settings["install_dir"])),
        "files": [
            {"path": item["path"], "mode": item["mode"], "content": item["content"]}
            for item in files
        ],
        "api": {
            "health": engine["probe_path"],
            "model": keys["LLM_MODEL"],
        },
        "problems": problems,
        "compose": project,
        "resources": _resources(project, images, published),
    }


# --- configuration -----------------------------------------------------------------


class ServiceText(StackFile):
    """A configuration file and its service."""

    service: str


def _keys(
    settings: SettingValues,
    choice: Choice,
    published: Sequence[StackPort],
) -> dict[str, str]:
    """Return the keys of ``.env`` that every run sets from the choices."""
    model, assigned = choice["model"], choice.get("gpu_assignment") or {}
    base = "http://" + ENGINE + ":8080"
    keys: dict[str, str] = {
        "BIND_ADDRESS": str(settings["bind_address"]),
        "GPU_BACKEND": str(choice["backend"]),
        "LLM_MODEL": str(model["id"]),
        "GGUF_FILE": str(model["file"]),
        "CTX_SIZE": str(model["context_tokens"]),
        "LLM_API_URL": base,
        "HERMES_LLM_BASE_URL": base + "/v1",
    }
    keys.update({item["key"]: str(item["port"]) for item in published})
    for item in published:
        if item["service"] == "n8n":
            # Over plain HTTP, browsers accept secure cookies only from loopback addresses.
            keys["N8N_SECURE_COOKIE"] = (
                "false" if ip_addresses.is_loopback(item["address"]) else "true"
            )
    if assigned.get("engine"):
        keys["LLAMA_SERVER_GPU_UUIDS"] = ",".join(assigned["engine"])
        keys["LLAMA_ARG_SPLIT_MODE"] = str(assigned["split_mode"])
        keys["LLAMA_ARG_TENSOR_SPLIT"] = ",".join(map(str, assigned["tensor_split"]))
    return keys


def _cards(services: Sequence[Service], choice: Choice) -> dict[str, list[str]]:
    """Return the ids of the assigned cards by service."""
    assigned = choice.get("gpu_assignment") or {}
    helpers = assigned.get("helpers") or {}
    return {
        item["id"]: assigned.get("engine", []) if item["id"] == ENGINE else helpers[item["id"]]
        for item in services
        if item.get("gpus") == "assigned" and (item["id"] == ENGINE or item["id"] in helpers)
    }


def _files(
    services: Sequence[Service], wanted: set[str], keys: Mapping[str, str], install_dir: str
) -> list[ServiceText]:
    """Return the configuration files; for equal paths, the later one is used."""
    found: dict[str, ServiceText] = {}
    for service in services:
        for item in service.get("files", ()):
            if item.get("with", service["id"]) in wanted:
                found[item["path"]] = {
                    "service": service["id"],
                    "path": "{}/{}".format(install_dir, item["path"]),
                    "mode": "0644",
                    "content": _filled(item["content"], keys),
                }
    return list(found.values())


_PLACE = re.compile(r"@([A-Z][A-Z0-9_]*)@")


def _filled(content: str, keys: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: keys[match.group(1)], content)


def _contents_by_service(files: Sequence[ServiceText]) -> dict[str, str]:
    """Return a digest of the files that each service reads at its start; a change restarts it."""
    found: dict[str, str] = {}
    for item in files:
        text = found.get(item["service"], "") + item["path"] + "\n" + item["content"]
        found[item["service"]] = text
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in found.items()}


def _helpers(services: Sequence[Service], models_catalog: entries.Models) -> list[HelperModel]:
    """Return the additional models of these services: ``{id, name, files}``."""
    wanted = {name for item in services for name in item.get("models", ())}
    return [
        {
            "id": model["id"],
            "name": model["name"],
            "files": [{**file, "urls": list(file["urls"])} for file in model["files"]],
        }
        for model in models_catalog.get("helpers", ())
        if model["id"] in wanted
    ]


def _directories(
    services: Sequence[Service], helpers: Sequence[HelperModel], install_dir: str
) -> list[StackDirectory]:
    """Return the mounted directories and their parents, parents first.

    ``data`` directories belong to their service after creation: databases change mode and owner
    of theirs, which is not drift.
    """
    owners: dict[str, str] = {}
    data: set[str] = set()
    paths: set[str] = set()
    for model in helpers:
        for file in model["files"]:
            parts = ("{}/{}".format(_MODELS, file["file"])).split("/")[:-1]
            paths.update("/".join(parts[: end + 1]) for end in range(len(parts)))
    for service in services:
        owners.update(service.get("owners") or {})
        for volume in service.get("volumes", ()):
            if volume["kind"] != "named":
                parts = volume["source"].split("/")
                paths.update("/".join(parts[: end + 1]) for end in range(len(parts)))
            if volume["kind"] == "data" and not (volume["source"] + "/").startswith(_MODELS + "/"):
                data.add(volume["source"])
    return [
        {
            "path": f"{install_dir}/{path}",
            "mode": _DIRECTORY_MODE,
            "owner": owners.get(path, ""),
            "data": path in data,
        }
        for path in sorted(paths)
    ]


# --- images --------------------------------------------------------------------------


def _images(
    services: Sequence[Service], lock: entries.Images, arch: str
) -> tuple[list[StackImage], list[StackProblem]]:
    """Return each service's image by digest or id, and the problems found."""
    locked = lock.get("images") or {}
    images: list[StackImage] = []
    problems: list[StackProblem] = []
    missing = sorted({item["image"] for item in services if not pinned(item["image"], locked)})
    if missing:
        problems.append(
            {
                "code": "IMAGE_NOT_LOCKED",
                "what": "some container images are not pinned: {}".format(", ".join(missing)),
                "hint": "look up their digests with: dream-runner lock {}; without a network, use a"
                " bundle: dream-runner lock --bundle DIR".format(" ".join(missing)),
            }
        )
    platform = "linux/" + arch
    for item in services:
        entry = locked.get(item["image"]) or {}
        images.append(
            {
                "service": item["id"],
                "tag": item["image"],
                "reference": pinned(item["image"], locked),
                "also": entry.get("manifest", ""),
                "archive": entry.get("archive", ""),
                "platform": platform,
            }
        )
        if entry.get("platforms") and platform not in entry["platforms"]:
            problems.append(
                {
                    "code": "IMAGE_PLATFORM",
                    "what": "the image of {} is only available for {}, but this host is {}".format(
                        item["id"], " and ".join(entry["platforms"]), platform
                    ),
                    "hint": "turn off the feature that needs it; see 'dream-runner plan'",
                }
            )
    return images, problems


# --- data for later phases -------------------------------------------------------------


def _summary(
    service: Service,
    services: Sequence[Service],
    published: Sequence[StackPort],
    loopbacks: Sequence[str],
    choice: Choice,
) -> ServiceSummary:
    """Return the data of a service for the health phase, the plan and the summary."""
    own = [item for item in published if item["service"] == service["id"]]
    check = service.get("healthcheck") or {}
    once = any(
        (other.get("depends_on") or {}).get(service["id"]) == "completed" for other in services
    )
    url = ""
    if own and service.get("probe_path"):
        url = ip_addresses.base_url(
            ip_addresses.reachable(own[0]["address"], loopbacks), own[0]["port"]
        )
    return {
        "id": service["id"],
        "title": service["title"],
        "core": service["group"] == "core",
        "part_of": service.get("part_of", ""),
        "once": once,
        "url": url,
        "probe": url + service["probe_path"] if url else "",
        "budget_seconds": _budget(check)
        + (_load_seconds(choice["model"]) if service["id"] == ENGINE else 0),
        "fetches": service.get("fetches", ""),
    }


def _budget(check: Healthcheck) -> int:
    """Return the seconds that a service may take: its start time, then all retries."""
    if not check:
        return 60
    return int(check["start_seconds"] + check["retries"] * check["interval_seconds"])


#: Assumed minimum read rate of a disk (C4).
_SLOW_MB_PER_SECOND = 20


def _load_seconds(model: Model) -> int:
    """Return the seconds that a slow disk takes to read the model, on top of the start time."""
    exact = [int(item.get("size_bytes") or 0) for item in model.get("files") or ()]
    size_mb = sum(exact) // 1_000_000 if all(exact) else int(model.get("size_mb") or 0)
    return size_mb // _SLOW_MB_PER_SECOND


def _resources(
    project: Project,
    images: Sequence[StackImage],
    published: Sequence[StackPort],
) -> dict[str, list[Resource]]:
    """Return the resources of two phases; uninstall removes them in reverse order."""
    name = project["name"]
    known = {item["reference"]: item["also"] for item in images if item["reference"]}
    services: list[Resource] = [
        {"kind": "volume", "name": f"{name}_{volume}"} for volume in project["volumes"]
    ]
    services += [
        {"kind": "network", "name": f"{name}_{network}"} for network in project["networks"]
    ]
    services += [
        {"kind": "container", "project": name, "service": service}
        for service in sorted(project["services"])
    ]
    services += [
        {"kind": "port", "port": item["port"], "address": item["address"]} for item in published
    ]
    return {
        "images": [
            {"kind": "image", "reference": item, "also": known[item]} for item in sorted(known)
        ],
        "services": services,
    }
