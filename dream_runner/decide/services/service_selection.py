"""Choose the services of a host and their variants."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ...catalog import entries
from ...module_utils.dream_core.facts.totals import usable_gpus
from ...module_utils.dream_core.types.choice import Choice
from ...module_utils.dream_core.types.compose import Service, Value
from ...module_utils.dream_core.types.facts import Facts
from ...module_utils.dream_core.types.settings import SettingValues

#: The service that serves the model; its port is the engine's.
ENGINE = "llama-server"


def variants_of(settings: SettingValues, facts: Facts, choice: Choice) -> list[str]:
    """Return the variants of this host; later ones override earlier ones."""
    backend = str(choice["backend"])
    names = [backend]
    if backend == "amd" and settings["amd_engine"] == "rocm":
        names.append("amd_rocm")
    cards = [gpu for gpu in usable_gpus(facts) if gpu.get("vendor") == backend]
    return [*names, "multi_" + backend] if len(cards) > 1 else names


def laid_over(service: Service, variants: Iterable[str], wanted: set[str]) -> Service:
    """Return the service merged with this host's variants and additions of other services.

    A variant's environment is merged by key; its other values replace the service's.
    """
    merged = service.copy()
    merged.pop("variants", None)
    merged.pop("with", None)
    for name, wires in (service.get("with") or {}).items():
        if name in wanted:
            merged["environment"] = _joined(merged.get("environment"), wires.get("environment"))
            merged["volumes"] = [*merged.get("volumes", ()), *wires.get("volumes", ())]
    for name in variants:
        variant = (service.get("variants") or {}).get(name) or {}
        environment = _joined(merged.get("environment"), variant.get("environment"))
        merged.update(variant)
        if "environment" in variant:
            merged["environment"] = environment
    return merged


def _joined(first: dict[str, Value] | None, then: dict[str, Value] | None) -> dict[str, Value]:
    return {**(first or {}), **(then or {})}


def unasked(known: Mapping[str, Service], features_catalog: entries.Features) -> list[str]:
    """Return the ids of services that run by default, because no feature starts them."""
    features = features_catalog["features"].values()
    claimed = {service["id"] for feature in features for service in feature["services"]}
    return [
        name
        for name, item in known.items()
        if item["group"] == "core" or (item["group"] == "recommended" and name not in claimed)
    ]


def with_needs(
    wanted: Iterable[str], known: Mapping[str, Service], able: Collection[str]
) -> set[str]:
    """Return ``wanted`` and their dependencies, limited to services that are ``able`` to run."""
    queue = list(wanted)
    found: set[str] = set()
    while queue:
        name = queue.pop()
        if name in found or name not in able:
            continue
        found.add(name)
        queue += known[name].get("depends_on") or {}
        queue += [part for part, item in known.items() if item.get("part_of") == name]
    return _without_broken(found, known)


def _without_broken(found: set[str], catalog: Mapping[str, Service]) -> set[str]:
    """Remove services with a missing dependency until none is left."""
    while True:
        kept = {name for name in found if set(catalog[name].get("depends_on") or {}) <= found}
        if kept == found:
            return found
        found = kept


def obstacle(service: Service, facts: Facts, backend: str) -> str:
    """Return why a service cannot run on this host, or an empty string."""
    seen = {"arch": str(facts.get("arch") or "none"), "backends": backend}
    for key, allowed in (service.get("supported") or {}).items():
        if seen[key] not in allowed:
            return "{} is only available for {}, but this host has {}".format(
                service["id"],
                " and ".join(allowed),
                seen[key],
            )
    return ""
