"""Which optional features run: the user's words, the host's limits, one answer with reasons.

The catalogue (``catalog/features.yml``) is data: what a feature needs of the
host, of other features, and which services it switches on. A rule of the
host is hard for everybody; a piece of advice (``auto_off_...``) only decides
what *auto* means, so that an explicit yes is always obeyed or refused loudly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..catalog import entries
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.types.choice import Features
from ..module_utils.dream_core.types.compose import Service
from ..module_utils.dream_core.types.facts import Facts
from ..module_utils.dream_core.types.settings import SettingValues
from .services import service_selection

#: The features of dream-runner, in the order in which the questions are asked.
FEATURES = ("voice", "workflows", "rag", "agents", "images", "observability", "search")


def resolve(
    settings: SettingValues,
    facts: Facts,
    tier: Any,
    features_catalog: entries.Features,
    services_catalog: entries.Services | None = None,
    context_tokens: int | None = None,
) -> Features:
    """Return ``{"enabled": {name: bool}, "reasons": {name: text}, "services": [id]}``.

    ``tier`` is a tier id or a mapping with one; ``services_catalog`` says where each
    service can run; ``context_tokens`` is the model's context, None where no model was chosen
    yet. Raises UsageError ``FEATURE_CONFLICT`` that names every explicit
    yes that cannot be.
    """
    features = _known(features_catalog)
    known = {item["id"]: item for item in (services_catalog or {}).get("services", ())}
    wanted = {name: _word(settings.get(name)) for name in features}
    tier_id = str(tier.get("id") if isinstance(tier, Mapping) else tier)
    hard = {
        name: _obstacle(features[name], facts, tier_id, known)
        or _context_obstacle(features[name], context_tokens)
        for name in features
    }
    if settings.get("profile") == "native":
        hard = dict.fromkeys(features, "the native profile has no container engine")

    pulled, problems = _pull(features, wanted, hard)
    if problems:
        raise UsageError(
            "these features cannot be switched on:\n" + "\n".join("- " + p for p in problems),
            code="FEATURE_CONFLICT",
            hint="set each of them to auto or no, or change what it stumbles over",
        )
    advice = {name: _advice(features[name], settings, tier_id) for name in features}
    enabled, reasons = _decide(features, wanted, hard, pulled, advice)
    return {
        "enabled": enabled,
        "reasons": reasons,
        "services": _services(features, enabled, facts, known),
    }


def _word(value: Any) -> str:
    """Return yes, no or auto; YAML reads a bare ``yes`` as true."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value in ("yes", "no") else "auto"


def _known(catalog: Any) -> Mapping[str, entries.Feature]:
    """Return the features of a catalogue, or those that are given without the rest of it."""
    found: Mapping[str, entries.Feature] = catalog.get("features", catalog)
    return found


def not_offered(catalog: entries.Features) -> dict[str, str]:
    """Return the features that no machine can have, with the reason."""
    return {
        name: str(item["not_offered"])
        for name, item in _known(catalog).items()
        if item.get("not_offered")
    }


def _obstacle(
    feature: entries.Feature, facts: Facts, tier_id: str, known: Mapping[str, Service]
) -> str | None:
    """Return why this host cannot run ``feature`` at all, or None."""
    if feature.get("not_offered"):
        return "it is not offered: {}".format(feature["not_offered"])
    backends = feature.get("needs_backend") or []
    backend = facts.get("backend") or "cpu"
    if backends and backend not in backends:
        return "it needs a GPU of {}, this host's backend is {}".format(
            " or ".join(backends), backend
        )
    tiers = feature.get("needs_tiers") or []
    if tiers and tier_id not in tiers:
        return "it needs tier {}, this host has tier {}".format(" or ".join(tiers), tier_id)
    for service in feature.get("services", []):
        why = _service_obstacle(service, facts, known)
        if why and not service.get("optional"):
            return why
    return None


def _context_obstacle(feature: entries.Feature, context_tokens: int | None) -> str | None:
    needed = feature.get("needs_context_tokens")
    if not needed or context_tokens is None or context_tokens >= needed:
        return None
    return (
        f"it needs a context of {needed} tokens, and the model has {context_tokens} here;"
        f" --context-tokens {needed} asks for it"
    )


def _service_obstacle(
    service: entries.FeatureService, facts: Facts, known: Mapping[str, Service]
) -> str | None:
    arch = facts.get("arch")
    if service.get("arch") and arch not in service["arch"]:
        return "{} exists for {} only, this host is {}".format(
            service["id"],
            " and ".join(service["arch"]),
            arch or "of an unknown architecture",
        )
    limit = (service.get("max_page_size_bytes") or {}).get(arch or "")
    page = facts.get("page_size_bytes")
    if limit and page and page > limit:
        return (
            f"{service['id']} needs memory pages of at most {limit} bytes, this kernel has {page}"
        )
    product = known.get(service["id"])
    if product is None:
        return None
    return service_selection.obstacle(product, facts, str(facts.get("backend") or "cpu")) or None


def _advice(feature: entries.Feature, settings: SettingValues, tier_id: str) -> str | None:
    """Return why auto means off for ``feature``, or None."""
    if not feature.get("auto"):
        return "off unless asked for"
    if tier_id in (feature.get("auto_off_tiers") or []):
        return f"too much for tier {tier_id} unless asked for"
    if feature.get("auto_off_when_offline") and settings.get("offline"):
        return "of no use offline unless asked for"
    return None


def _pull(
    features: Mapping[str, entries.Feature],
    wanted: Mapping[str, str],
    hard: Mapping[str, str | None],
) -> tuple[dict[str, str], list[str]]:
    """Follow each explicit yes to all it needs.

    Return ``({name: reason it is on}, problems)``. Every problem is collected,
    so that the user corrects the answers once.
    """
    pulled = {name: "asked for" for name in features if wanted[name] == "yes"}
    problems = [f"{name}: {hard[name]}" for name in pulled if hard[name]]
    queue = list(pulled)
    while queue:
        name = queue.pop(0)
        for need in features[name].get("requires") or []:
            if wanted[need] == "no":
                problems.append(f"{name} needs {need}, which was set to no")
            elif need not in pulled:
                pulled[need] = f"needed by {name}"
                queue.append(need)
                if hard[need]:
                    problems.append(f"{need} (needed by {name}): {hard[need]}")
    for name in sorted(pulled):
        for other in _conflicts(features, name):
            if other in pulled and name < other:
                problems.append(f"{name} and {other} exclude each other")
    return pulled, problems


def _conflicts(features: Mapping[str, entries.Feature], name: str) -> list[str]:
    """Return what excludes ``name``, whichever of the two says so."""
    own = features[name].get("conflicts") or []
    return [
        other
        for other in features
        if other in own or name in (features[other].get("conflicts") or [])
    ]


def _decide(
    features: Mapping[str, entries.Feature],
    wanted: Mapping[str, str],
    hard: Mapping[str, str | None],
    pulled: Mapping[str, str],
    advice: Mapping[str, str | None],
) -> tuple[dict[str, bool], dict[str, str]]:
    """Settle every feature; what an auto feature needs is settled before it."""
    enabled: dict[str, bool] = {}
    reasons: dict[str, str] = {}

    def settle(name: str) -> None:
        if name in enabled:
            return
        # Against a circle in the catalogue: the one being settled counts as off.
        enabled[name], reasons[name] = False, "it needs itself"
        why_off: str | None = None
        if name not in pulled:
            why_off = "switched off" if wanted[name] == "no" else hard[name] or advice[name]
            why_off = why_off or _missing_need(name) or _excluded(name)
        enabled[name] = why_off is None
        reasons[name] = why_off or pulled.get(name, "this host allows it")

    def _missing_need(name: str) -> str | None:
        for need in features[name].get("requires") or []:
            settle(need)
            if not enabled[need]:
                return f"it needs {need}, which is off: {reasons[need]}"
        return None

    def _excluded(name: str) -> str | None:
        for other in _conflicts(features, name):
            if other in pulled or enabled.get(other):
                return f"{other} excludes it"
        return None

    for name in features:
        settle(name)
    return enabled, reasons


def _services(
    features: Mapping[str, entries.Feature],
    enabled: Mapping[str, bool],
    facts: Facts,
    known: Mapping[str, Service],
) -> list[str]:
    """Return the ids of the services that the enabled features switch on."""
    found = {
        service["id"]
        for name in features
        if enabled[name]
        for service in features[name].get("services", [])
        if _service_obstacle(service, facts, known) is None
    }
    return sorted(found)
