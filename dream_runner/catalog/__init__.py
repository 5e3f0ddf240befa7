"""The catalogue of products (models, images, services, features, tiers), as checked data.

``load()`` reads every part, checks each against its schema and all of them against each other,
and reports all problems at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dream_runner import paths, yaml_file
from dream_runner.catalog.entries import (
    Features,
    Images,
    ModelEntry,
    Models,
    Rule,
    Services,
    Tiers,
)
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.fetch import wheel_lock
from dream_runner.module_utils.dream_core.files import text_file
from dream_runner.module_utils.dream_core.types.choice import ModelFile
from dream_runner.module_utils.dream_core.types.compose import LockedImage, Service

HERE = Path(__file__).parent

#: Maximum file size of a site's own catalogue.
_LIMIT_BYTES = 8 * 1024 * 1024
#: Each part is ``<name>.yml`` with ``<name>.schema.json`` beside it.
PARTS = ("models", "tiers", "services", "features")

#: Written by ``dream-runner lock``: the digest of every image. It is not a part, because a
#: machine's own lock overrides the shipped one.
LOCK = "images.lock.json"
LOCK_SCHEMA = "dream-runner.images/1"


@dataclass(frozen=True)
class Catalog:
    """The parts of the catalogue, each as in its file, and the lock of the images."""

    models: Models
    tiers: Tiers
    services: Services
    features: Features
    images: Images
    webui: wheel_lock.Lock


def load(directory: str | Path | None = None) -> Catalog:
    """Return the catalogue in ``directory``, or the shipped one.

    Missing parts are taken from the shipped catalogue, so that a site can replace only its models.
    Raises UsageError CATALOG_INVALID with all errors of all parts.
    """
    locks = [path for path in (HERE / LOCK, lock_path()) if path.is_file()]
    stamps = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in locks)
    return _load(Path(directory).resolve() if directory else HERE, stamps)


def lock_path() -> Path:
    """Return the path of this user's image lock."""
    base = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(base) / "dream-runner" / LOCK


@cache
def _load(directory: Path, locks: tuple[tuple[Path, int, int], ...]) -> Catalog:
    """Read everything; ``locks`` are the lock files with a key that changes with their content."""
    parts: dict[str, Any] = {}
    problems: list[str] = []
    for name in PARTS:
        parts[name], found = _part(directory, name)
        problems += found
    # The shipped catalogue is checked by a test, not at every start.
    if directory != HERE:
        problems = problems or breaches(parts)
    if problems:
        raise UsageError(
            "the catalogue is invalid:\n" + "\n".join(f"- {line}" for line in problems),
            code="CATALOG_INVALID",
            where=str(directory),
            hint="correct these entries; see the schemas next to the files",
        )
    images: dict[str, LockedImage] = {}
    for path, _, _ in locks:
        images |= read_lock(path)
    return Catalog(**parts, images={"images": images}, webui=_webui())


def webui_lock() -> Path:
    """Return where the lock of Open WebUI's packages is."""
    return paths.content() / "roles" / "services" / "files" / "webui.lock.json"


@cache
def _webui() -> wheel_lock.Lock:
    return wheel_lock.read(str(webui_lock()))


def image_tags(services: Services) -> list[str]:
    """Return all images in the catalogue, including all variants."""
    found: set[str] = set()
    for service in services["services"]:
        variants = (service.get("variants") or {}).values()
        found.update(item["image"] for item in (service, *variants) if "image" in item)
    return sorted(found)


def read_lock(path: Path) -> dict[str, LockedImage]:
    """Return the entries of a lock file. Raises UsageError LOCK_INVALID.

    The shipped lock is not checked against the schema here: a test does that.
    """
    try:
        content = json.loads(text_file.read(path, _LIMIT_BYTES))
    except text_file.Unreadable as error:
        raise _no_lock(path, error.reason) from None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 0)
        raise _no_lock(path, f"line {line} is not JSON" if line else "it is not JSON") from None
    problems = [] if path == HERE / LOCK else schema_errors(content, "images.lock")
    if problems:
        raise _no_lock(path, "; ".join(problems[:5]))
    entries: dict[str, LockedImage] = content["images"]
    return entries


def _no_lock(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the image lock is invalid: {why}",
        code="LOCK_INVALID",
        where=str(path),
        hint="delete the file, then run 'dream-runner lock'",
    )


def _part(directory: Path, name: str) -> tuple[Any, list[str]]:
    path = directory / f"{name}.yml"
    if not path.exists():
        path = HERE / path.name
    try:
        if path.parent == HERE:
            # The shipped catalogue needs no limit, which would slow down every start.
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
        else:
            content = yaml_file.read(path, _LIMIT_BYTES, _Loader)
    except text_file.Unreadable as error:
        return None, [f"{path.name}: {error.reason}"]
    return content, []


def breaches(parts: dict[str, Any]) -> list[str]:
    """Return all errors of the parts: those of the schemas, else those of the names."""
    found = [f"{name}.yml: {line}" for name in PARTS for line in schema_errors(parts[name], name)]
    return found or list(cross_check(parts))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe YAML loader (in C if available) that rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1}: {sorted(twice)} is a duplicate key"
            )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def schema_errors(content: Any, name: str) -> list[str]:
    """Return all schema errors of a part, each with its location in the file."""
    # Imported here because it takes 0.1 s and the shipped catalogue does not need it.
    import jsonschema

    schema = json.loads((HERE / f"{name}.schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    found = sorted(validator.iter_errors(content), key=lambda error: list(map(str, error.path)))
    return [f"{_place(content, list(error.absolute_path))}: {error.message}" for error in found]


def _place(content: Any, path: list[Any]) -> str:
    """Return a location as text; entries are named by their id, not by their index."""
    words: list[str] = []
    for step in path:
        content = content[step]
        named = isinstance(step, int) and isinstance(content, dict) and "id" in content
        words.append(str(content["id"]) if named else str(step))
    return ".".join(words) or "the file"


def cross_check(parts: dict[str, Any]) -> Iterator[str]:
    """Yield errors that no schema can find: unknown and duplicate names."""
    yield from _check_tiers(parts["tiers"])
    yield from _check_models(parts["models"], [tier["id"] for tier in parts["tiers"]["tiers"]])
    yield from _check_services(parts["services"], parts["features"])
    yield from _check_helpers(parts["models"], parts["services"])


def _check_tiers(tiers: Tiers) -> Iterator[str]:
    ids = [tier["id"] for tier in tiers["tiers"]]
    rules = tiers["rules"]
    yield from _twice("tiers.yml: tier", ids)
    yield from _twice("tiers.yml: rule", [rule["id"] for rule in rules])
    for rule in rules:
        yield from _missing(f"tiers.yml: rule {rule['id']}: tier", [rule["tier"]], ids)
    yield from _missing("tiers.yml: aliases: tier", tiers["aliases"].values(), ids)
    yield from _unreachable(rules)


def _unreachable(rules: list[Rule]) -> Iterator[str]:
    """Yield kinds of hardware for which a host could match no rule."""
    last = {(rule["backend"], rule.get("memory_class")): rule for rule in rules}
    for rule in last.values():
        if "memory_mb" in rule or "ram_mb" in rule:
            yield f"tiers.yml: a {rule['backend']} host below rule {rule['id']} would match no rule"


def _check_models(models: Models, tiers: list[str]) -> Iterator[str]:
    ids = [model["id"] for model in models["models"]]
    yield from _twice("models.yml: model", ids)
    yield from _missing("models.yml: fallback: model", models["fallback"], ids)
    small = [models["fast_start"]["model"]] if "fast_start" in models else []
    yield from _missing("models.yml: fast_start: model", small, ids)
    yield from _missing("models.yml: tiers: tier", models["tiers"], tiers)
    yield from _missing("models.yml: tiers: a plan for tier", tiers, models["tiers"])
    for tier, plan in models["tiers"].items():
        yield from _missing(f"models.yml: tier {tier}: model", plan["models"], ids)
    sums = [file["sha256"] for model in models["models"] for file in model["files"]]
    yield from _twice("models.yml: sha256", sums)
    gaps = {item["model"]: item["lacks"] for item in models.get("known_gaps", ())}
    yield from _missing("models.yml: known_gaps: model", gaps, ids)
    for model in models["models"]:
        yield from _unpinned(model, gaps.get(model["id"], ()))


#: Address of a file on a hub: repository, revision (a commit or a branch) and path.
HUB_FILE = re.compile(
    r"https://[^/]+/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)
COMMIT = re.compile(r"[0-9a-f]{40}")


def lacks(file: ModelFile) -> set[str]:
    """Return the missing pins of a model's file: ``commit``, ``size_bytes``, both or none."""
    places = [HUB_FILE.fullmatch(url) for url in file["urls"]]
    floating = any(place and not COMMIT.fullmatch(place["revision"]) for place in places)
    found = {"commit"} if floating else set()
    return found if file["size_bytes"] else found | {"size_bytes"}


def _unpinned(model: ModelEntry, known: Iterable[str]) -> Iterator[str]:
    """Yield missing pins that known_gaps does not list, and listed ones that are not missing."""
    found = set().union(*(lacks(file) for file in model["files"]))
    for name in sorted(found - set(known)):
        yield f"models.yml: {model['id']} has no {name} and no entry in known_gaps"
    for name in sorted(set(known) - found):
        yield f"models.yml: known_gaps: {model['id']} has its {name}; remove it from the list"


def _check_helpers(models: Models, services: Services) -> Iterator[str]:
    """Yield helper models that no service reads, and files that share a path."""
    helpers = models.get("helpers", [])
    ids = [item["id"] for item in helpers]
    yield from _twice("models.yml: helper", ids)
    yield from _twice(
        "models.yml: file", [file["file"] for item in helpers for file in item["files"]]
    )
    read = {name for service in services["services"] for name in service.get("models", ())}
    yield from _missing("services.yml: models: helper", sorted(read), ids)
    yield from _missing("models.yml: helpers: a service that reads", sorted(ids), read)


def _check_services(services: Services, features: Features) -> Iterator[str]:
    ids = [service["id"] for service in services["services"]]
    yield from _twice("services.yml: service", ids)
    ports = [str(port["host"]) for s in services["services"] for port in s.get("ports", [])]
    yield from _twice("services.yml: host port", ports)
    for service in services["services"]:
        place = f"services.yml: {service['id']}: "
        yield from _missing(place + "depends_on", service.get("depends_on", ()), ids)
        yield from _missing(place + "part_of", filter(None, [service.get("part_of")]), ids)
        known = ("default", *services["networks"])
        yield from _missing(place + "network", service.get("networks", ()), known)
        with_files = [item["with"] for item in service.get("files", ()) if "with" in item]
        yield from _missing(place + "files: with", with_files, ids)
        yield from _missing(place + "with", service.get("with", ()), ids)
        yield from _unchecked(place, service, services["services"])
    # A feature may name services that the catalogue lists as not included.
    ids += [service["id"] for service in services["not_included"]]
    for name, feature in features["features"].items():
        wanted = [service["id"] for service in feature["services"]]
        yield from _missing(f"features.yml: {name}: service", wanted, ids)


def _unchecked(place: str, service: Service, services: list[Service]) -> Iterator[str]:
    """Yield dependencies without a health check: their dependents would wait forever."""
    checked = {item["id"] for item in services if "healthcheck" in item}
    for name, how in service.get("depends_on", {}).items():
        if how == "healthy" and name not in checked:
            yield f"{place}depends_on {name}, which has no healthcheck"


def _missing(place: str, names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    there = set(known)
    return (f"{place} {name} does not exist" for name in names if name not in there)


def _twice(place: str, names: list[str]) -> Iterator[str]:
    return (
        f"{place} {name} is defined twice" for name in sorted(set(names)) if names.count(name) > 1
    )
