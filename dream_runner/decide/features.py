"""Decide which optional features run, with the reasons.

The catalogue (``catalog/features.yml``) says what a feature needs of the host and of other
features, and which services it starts. Limits of the host always apply. Advice
(``auto_off_...``) only decides what *auto* means: an explicit yes is obeyed or refused.
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

#: The features of dream-runner, in the order of the settings.
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

    ``tier`` is a tier id or a mapping with one; ``services_catalog`` says where each service
    can run; ``context_tokens`` is the model's context, None if no model was chosen yet.
    Raises UsageError ``FEATURE_CONFLICT`` with every explicit yes that is impossible.
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

    pulled, problems = _requirements_of(features, wanted, hard)
    if problems:
        raise UsageError(
            "these features cannot be switched on:\n" + "\n".join("- " + p for p in problems),
            code="FEATURE_CONFLICT",
            hint="set each of them to auto or no, or remove the cause",
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
    """Return the features of a catalogue, or ``catalog`` itself if it has only features."""
    found: Mapping[str, entries.Feature] = catalog.get("features", catalog)
    return found


def not_offered(catalog: entries.Features) -> dict[str, str]:
    """Return the features that are not available on any machine, with the reason."""
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
        return "it needs the backend {}, but this host has {}".format(
            " or ".join(backends), backend
        )
    tiers = feature.get("needs_tiers") or []
    if tiers and tier_id not in tiers:
        return "it needs tier {}, but this host has tier {}".format(" or ".join(tiers), tier_id)
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
        f"it needs a context of {needed} tokens, but the model has {context_tokens};"
        f" use --context-tokens {needed}"
    )


def _service_obstacle(
    service: entries.FeatureService, facts: Facts, known: Mapping[str, Service]
) -> str | None:
    arch = facts.get("arch")
    if service.get("arch") and arch not in service["arch"]:
        return "{} is only available for {}, but this host is {}".format(
            service["id"],
            " and ".join(service["arch"]),
            arch or "of an unknown architecture",
        )
    limit = (service.get("max_page_size_bytes") or {}).get(arch or "")
    page = facts.get("page_size_bytes")
    if limit and page and page > limit:
        return (
            f"{service['id']} needs memory pages of at most {limit} bytes; this kernel has {page}"
        )
    product = known.get(service["id"])
    if product is None:
        return None
    return service_selection.obstacle(product, facts, str(facts.get("backend") or "cpu")) or None


def _advice(feature: entries.Feature, settings: SettingValues, tier_id: str) -> str | None:
    """Return why auto means off for ``feature``, or None."""
    if not feature.get("auto"):
        return "off by default"
    if tier_id in (feature.get("auto_off_tiers") or []):
        return f"off by default in tier {tier_id}, which is too small"
    if feature.get("auto_off_when_offline") and settings.get("offline"):
        return "off by default when offline"
    return None


def _requirements_of(
    features: Mapping[str, entries.Feature],
    wanted: Mapping[str, str],
    hard: Mapping[str, str | None],
) -> tuple[dict[str, str], list[str]]:
    """Collect what each explicit yes needs.

    Return ``({name: reason it is on}, problems)`` with all problems at once.
    """
    pulled = {name: "requested" for name in features if wanted[name] == "yes"}
    problems = [f"{name}: {hard[name]}" for name in pulled if hard[name]]
    queue = list(pulled)
    while queue:
        name = queue.pop(0)
        for need in features[name].get("requires") or []:
            if wanted[need] == "no":
                problems.append(f"{name} needs {need}, which is set to no")
            elif need not in pulled:
                pulled[need] = f"needed by {name}"
                queue.append(need)
                if hard[need]:
                    problems.append(f"{need} (needed by {name}): {hard[need]}")
    for name in sorted(pulled):
        for other in _conflicts(features, name):
            if other in pulled and name < other:
                problems.append(f"{name} and {other} cannot be combined")
    return pulled, problems


def _conflicts(features: Mapping[str, entries.Feature], name: str) -> list[str]:
    """Return the features that conflict with ``name``, declared on either side."""
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
    """Decide every feature; the requirements of an auto feature are decided first."""
    enabled: dict[str, bool] = {}
    reasons: dict[str, str] = {}

    def settle(name: str) -> None:
        if name in enabled:
            return
        # In a circular requirement, the feature that is being decided counts as off.
        enabled[name], reasons[name] = False, "it needs itself"
        why_off: str | None = None
        if name not in pulled:
            why_off = "switched off" if wanted[name] == "no" else hard[name] or advice[name]
            why_off = why_off or _missing_need(name) or _excluded(name)
        enabled[name] = why_off is None
        reasons[name] = why_off or pulled.get(name, "supported on this host")

    def _missing_need(name: str) -> str | None:
        for need in features[name].get("requires") or []:
            settle(need)
            if not enabled[need]:
                return f"it needs {need}, which is off: {reasons[need]}"
        return None

    def _excluded(name: str) -> str | None:
        for other in _conflicts(features, name):
            if other in pulled or enabled.get(other):
                return f"it cannot be combined with {other}"
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
    """Return the ids of the services that the enabled features start."""
    found = {
        service["id"]
        for name in features
        if enabled[name]
        for service in features[name].get("services", [])
        if _service_obstacle(service, facts, known) is None
    }
    return sorted(found)
