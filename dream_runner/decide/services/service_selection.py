"""Which services run on a host, and in which variant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...module_utils.dream_core.facts.totals import usable_gpus

Service = dict[str, Any]


#: The service that serves the model; its port is the engine's.
ENGINE = "llama-server"


#: A variant's environment is merged by key; its other values replace the service's.
_MERGED = "environment"


def variants_of(
    settings: Mapping[str, Any], facts: Mapping[str, Any], choice: Mapping[str, Any]
) -> list[str]:
    """Return the variants of this host, each laid over the one before."""
    backend = str(choice["backend"])
    names = [backend]
    if backend == "amd" and settings["amd_engine"] == "rocm":
        names.append("amd_rocm")
    cards = [gpu for gpu in usable_gpus(dict(facts)) if gpu.get("vendor") == backend]
    return [*names, "multi_" + backend] if len(cards) > 1 else names


def laid_over(service: Service, variants: Iterable[str], wanted: set[str]) -> Service:
    """Return the service with this host's variants, and what other running services add to it."""
    merged = {key: value for key, value in service.items() if key not in ("variants", "with")}
    for name, wires in (service.get("with") or {}).items():
        if name in wanted:
            merged[_MERGED] = dict(merged.get(_MERGED) or {}, **wires.get(_MERGED, {}))
            merged["volumes"] = [*merged.get("volumes", ()), *wires.get("volumes", ())]
    for name in variants:
        variant = (service.get("variants") or {}).get(name) or {}
        for key, value in variant.items():
            merged[key] = dict(merged.get(key) or {}, **value) if key == _MERGED else value
    return merged


def unasked(known: Mapping[str, Service], features_catalog: Mapping[str, Any]) -> list[str]:
    """Return the ids that run without being asked for: no feature has them."""
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
    """Return the ids that run, of those ``able`` to: what is wanted, with all that it needs."""
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
    """Drop whoever depends on what cannot run here, until nobody does."""
    while True:
        kept = {name for name in found if set(catalog[name].get("depends_on") or {}) <= found}
        if kept == found:
            return found
        found = kept


def obstacle(service: Service, facts: Mapping[str, Any], backend: str) -> str:
    """Return why a service cannot run on this host, or an empty string."""
    seen = {"arch": str(facts.get("arch") or "none"), "backends": backend}
    for key, allowed in (service.get("supported") or {}).items():
        if seen[key] not in allowed:
            return "{} exists for {} only, this host has {}".format(
                service["id"],
                " and ".join(allowed),
                seen[key],
            )
    return ""
