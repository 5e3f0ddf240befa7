"""The hosts' facts, tier rules, findings and notices for the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .read import ReportedHost, dicts, part


def facts_of_host(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of a host; unknown values are shown as "unknown"."""
    facts = part(plan, "facts")
    if not facts:
        return []
    system, cpu, memory = (part(facts, name) for name in ("os", "cpu", "memory"))
    cores = f"{_or(cpu.get('cores'))} cores, {_or(cpu.get('threads'))} threads"
    inside = f" in {system['container']}" if system.get("container") else ""
    rows = [
        ("System", f"{_or(system.get('pretty_name'))}{inside}"),
        ("Kernel", f"{_or(system.get('kernel'))}, {_or(facts.get('arch'))}"),
        ("Processor", f"{_or(cpu.get('model'))}, {cores}"),
        ("Memory", _megabytes(memory.get("total_mb"))),
    ]
    rows += [("GPU", _gpu(gpu)) for gpu in dicts(facts.get("gpus"))]
    return [*rows, ("Compute", _or(facts.get("backend")))]


def choices(plan: Mapping[str, Any]) -> list[list[str]]:
    """Return the settings that were chosen: name, value, origin and reason."""
    columns = ("name", "value", "origin", "why")
    return [[_words(row.get(key)) for key in columns] for row in dicts(plan.get("choices"))]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _gpu(gpu: Mapping[str, Any]) -> str:
    name = gpu.get("name") or f"{_or(gpu.get('vendor'))} {gpu.get('pci_id') or ''}".strip()
    shared = gpu.get("memory_class") not in (None, "discrete")
    words = f"{name}, {'shared memory' if shared else _megabytes(gpu.get('memory_mb'))}"
    return words if gpu.get("usable", True) else f"{words}; not used: {_or(gpu.get('why_not'))}"


def _megabytes(value: Any) -> str:
    # In MB, like the rules, so that the numbers can be compared.
    return f"{value} MB" if isinstance(value, int) else "unknown"


def _or(value: Any) -> str:
    return "unknown" if value in (None, "") else str(value)


@dataclass(frozen=True)
class Rule:
    """The tier rule that was used, the resulting model, and the hosts."""

    tier: str
    rule: str
    reason: str
    model: str
    why: str
    hosts: Sequence[str]


def rules(hosts: Iterable[ReportedHost]) -> list[Rule]:
    """Return the used tier rules, each with its model and hosts."""
    found: dict[tuple[str, str, str, str, str], list[str]] = {}
    for host in hosts:
        tier, model = part(host.plan, "tier"), part(host.plan, "model")
        if tier:
            key = (
                _or(tier.get("name") or tier.get("id")),
                _or(tier.get("rule")),
                str(tier.get("reason") or ""),
                str(model.get("name") or model.get("id") or ""),
                str(model.get("why") or ""),
            )
            found.setdefault(key, []).append(host.name)
    return [Rule(*key, names) for key, names in found.items()]


@dataclass(frozen=True)
class Said:
    """A finding or notice, with its hosts."""

    level: str
    what: str
    hint: str
    hosts: Sequence[str]


def findings(hosts: Iterable[ReportedHost]) -> list[Said]:
    """Return the findings about the hardware, errors first."""
    return _together(
        (
            str(item.get("severity", "")),
            str(item.get("what", "")),
            str(item.get("hint") or ""),
            name,
        )
        for name, plan in ((host.name, host.plan) for host in hosts)
        for item in dicts(part(plan, "facts").get("findings"))
    )


def notices(hosts: Iterable[ReportedHost]) -> list[Said]:
    """Return the notices of the run, errors first."""
    return _together(
        (notice.level, notice.text, "", host.name) for host in hosts for notice in host.notices
    )


def _together(rows: Iterable[tuple[str, str, str, str]]) -> list[Said]:
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for level, what, hint, host in rows:
        found.setdefault((level, what, hint), {})[host] = None
    order = {"error": 0, "warning": 1}
    made = [Said(*key, hosts=list(names)) for key, names in found.items()]
    return sorted(made, key=lambda said: order.get(said.level, 2))
