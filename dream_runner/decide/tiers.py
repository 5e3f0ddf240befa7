"""Choose the tier of a host from the table in docs/developer/tiers.md.

The first rule whose conditions are met is used and named. All sums come from
``facts.totals``; nothing is added up here.
"""

from __future__ import annotations

from typing import Any, Literal

from ..catalog import entries
from ..module_utils.dream_core.errors import GpuError, UsageError
from ..module_utils.dream_core.facts.totals import accelerator, ram_mb
from ..module_utils.dream_core.types.choice import NextTier, Tier
from ..module_utils.dream_core.types.facts import Accelerator, Facts


class Measured(Accelerator):
    """The properties of a host that the rules use; ``ram_mb`` is the RAM that may be counted."""

    ram_mb: int | None


#: Conditions on sizes, with their names.
_SIZES: tuple[tuple[Literal["memory_mb", "ram_mb"], str], ...] = (
    ("memory_mb", "GPU memory"),
    ("ram_mb", "RAM"),
)


def choose_tier(
    facts: Facts,
    tiers_catalog: entries.Tiers,
    override: str = "auto",
    memory_limit_mb: int = 0,
) -> Tier:
    """Return ``{id, name, rule, reason, overridden, next, min_ram_gb, min_disk_gb}``.

    ``next`` is the next higher tier of the same kind of hardware, ``{id, rule, needs}``, or
    None at the top. Raises UsageError UNKNOWN_TIER, and GpuError GPU_NOT_USABLE if the user
    requested a GPU that this host does not have.
    """
    host = measure(facts, memory_limit_mb)
    _check_backend(facts, host)
    rules = tiers_catalog["rules"]
    tolerance = tiers_catalog["tolerance_percent"]
    position = next(i for i, rule in enumerate(rules) if matches(rule, host, tolerance))
    rule = rules[position]
    result: Tier = {
        "id": rule["tier"],
        "rule": rule["id"],
        "reason": reason(host),
        "overridden": False,
        "next": _better(rules[:position], rule, host),
    }
    if override != "auto":
        result.update(_override(tiers_catalog, override, result))
    tier = find_tier(tiers_catalog, str(result["id"]))
    return {
        **result,
        "name": tier["name"],
        "min_ram_gb": tier["min_ram_gb"],
        "min_disk_gb": tier["min_disk_gb"],
    }


def measure(facts: Facts, memory_limit_mb: int = 0) -> Measured:
    """Return what the rules use: backend, kind of memory, its MiB, and MiB of RAM."""
    return {
        **accelerator(facts, memory_limit_mb),
        "ram_mb": ram_mb(facts, memory_limit_mb),
    }


def _check_backend(facts: Facts, host: Measured) -> None:
    wanted = facts.get("backend")
    if not facts.get("backend_overridden") or host["backend"] == wanted:
        return
    found = [g["name"] or g["id"] for g in facts["gpus"] if g["vendor"] == wanted]
    raise GpuError(
        "this host has no usable {} GPU{}".format(
            wanted, ": {} cannot be used".format(", ".join(found)) if found else ""
        ),
        code="GPU_NOT_USABLE",
        hint="see the detected hardware with 'dream-runner facts', or use --gpu auto",
    )


def explain(
    facts: Facts, tiers_catalog: entries.Tiers, memory_limit_mb: int = 0
) -> list[dict[str, str]]:
    """Return every rule in order with its result: ``{rule, tier, result, why}``.

    ``result`` is ``fired`` (used), ``holds`` (met, but after the used one), ``no``, or
    ``other`` (for other kinds of hardware).
    """
    host = measure(facts, memory_limit_mb)
    fired = False
    rows: list[dict[str, str]] = []
    for rule in tiers_catalog["rules"]:
        why = obstacle(rule, host, tiers_catalog["tolerance_percent"])
        result = ("no" if is_about(rule, host) else "other") if why else _held(fired)
        fired = fired or result == "fired"
        rows.append(
            {
                "rule": rule["id"],
                "tier": rule["tier"],
                "result": result,
                "why": why or reason(host),
            }
        )
    return rows


def _held(fired: bool) -> str:
    return "holds" if fired else "fired"


def is_about(rule: entries.Rule, host: Measured) -> bool:
    """Tell whether a rule is for the host's kind of hardware, regardless of size."""
    kinds = (None, host["memory_class"])
    return bool(rule["backend"] == host["backend"] and rule.get("memory_class") in kinds)


def matches(rule: entries.Rule, host: Measured, tolerance_percent: int) -> bool:
    """Tell whether a host meets every condition of a rule."""
    return obstacle(rule, host, tolerance_percent) is None


def obstacle(rule: entries.Rule, host: Measured, tolerance_percent: int) -> str | None:
    """Return the first condition of a rule that a host does not meet, or None."""
    if not is_about(rule, host):
        return "is for other hardware than {} with {} memory".format(
            host["backend"],
            host["memory_class"],
        )
    for field, _ in _SIZES:
        if not _reaches(host[field], rule.get(field), tolerance_percent):
            return f"needs {needs(rule, host)}"
    return None


def _reaches(size: int | None, bound: int | None, tolerance_percent: int) -> bool:
    """Tell whether a size reaches a bound, minus the tolerance.

    Cards report up to 2 % less than their nominal size: a 12 GB card 12282 MiB, a 40 GB card
    40536 MiB. An unknown size reaches no bound.
    """
    if bound is None:
        return True
    return size is not None and size * 100 >= bound * (100 - tolerance_percent)


def reason(host: Measured) -> str:
    """Return as text why a host meets a rule."""
    if host["backend"] == "cpu":
        return "no usable GPU; {} of RAM".format(_size(host["ram_mb"]))
    kind = "shared with the CPU" if host["memory_class"] == "unified" else "in total"
    plural = "s" if host["count"] > 1 else ""
    gpus = f"{host['count']} {host['backend']} GPU{plural}"
    return "{} with {} of memory {}".format(gpus, _size(host["memory_mb"]), kind)


def _size(mib: int | None) -> str:
    return "an unknown amount" if mib is None else f"{mib} MB"


def _better(earlier: list[entries.Rule], fired: entries.Rule, host: Measured) -> NextTier | None:
    same = [
        rule for rule in earlier if _kind(rule) == _kind(fired) and rule["tier"] != fired["tier"]
    ]
    if not same:
        return None
    rule = same[-1]
    return {"id": rule["tier"], "rule": rule["id"], "needs": needs(rule, host)}


def _kind(rule: entries.Rule) -> Any:
    return rule["backend"], rule.get("memory_class")


def needs(rule: entries.Rule, host: Measured) -> str:
    """Return what a rule requires and what the host has."""
    parts = [
        f"{rule[field]} MB of {what} (this host: {_size(host[field])})"
        for field, what in _SIZES
        if rule.get(field)
    ]
    return " and ".join(parts)


def find_tier(tiers_catalog: entries.Tiers, wanted: str) -> entries.TierEntry:
    """Return a tier by its id (``T2`` is ``2``). Raises UsageError UNKNOWN_TIER."""
    tiers: list[entries.TierEntry] = tiers_catalog["tiers"]
    name = tiers_catalog.get("aliases", {}).get(wanted.upper(), wanted)
    for tier in tiers:
        if tier["id"].upper() == name.upper():
            return tier
    raise UsageError(
        "there is no tier {!r}; tiers are {}".format(wanted, ", ".join(t["id"] for t in tiers)),
        code="UNKNOWN_TIER",
        where="tier",
        hint="use one of these tiers, or auto",
    )


def _override(tiers_catalog: entries.Tiers, override: str, found: Tier) -> Tier:
    tier = find_tier(tiers_catalog, override)
    return {
        "id": tier["id"],
        "rule": "override",
        "reason": "chosen by the user; the table gives {} ({}: {})".format(
            found["id"], found["rule"], found["reason"]
        ),
        "overridden": True,
    }
