"""``dream-runner facts`` and ``dream-runner explain``: this host, and what is chosen for it.

Both can also read a capture, so that a report from one host can be examined on another.
"""

from __future__ import annotations

import getpass
import platform
from dataclasses import dataclass, field
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .. import yaml_file
from ..decide import models, tiers
from ..decide.fast_start import outlook
from ..decide.models import Candidate, Listed
from ..diagnose.scrub_capture import scrub
from ..machine import output_file
from ..module_utils.dream_core.errors import DreamError, UsageError
from ..module_utils.dream_core.facts.cache import load_or_gather
from ..module_utils.dream_core.facts.interpret import interpret
from ..module_utils.dream_core.facts.probe_system import gather
from ..module_utils.dream_core.facts.schema import CAPTURE_SCHEMA
from ..module_utils.dream_core.facts.totals import accelerator
from ..module_utils.dream_core.files.text_file import Unreadable
from ..module_utils.dream_core.system.atomic import write_bytes
from ..module_utils.dream_core.types import facts as documents
from ..module_utils.dream_core.types.choice import Model, Tier
from ..module_utils.dream_core.types.facts import Capture
from ..version import __version__
from ..wording import size

_CAPTURE_LIMIT = 4 * 1024 * 1024

#: The last key of a capture. Without it, the file is truncated.
_END = "complete"


@dataclass(frozen=True)
class Facts:
    """The facts document, its source, and a note about its cache (may be empty)."""

    document: documents.Facts
    source: str
    why: str = ""


def run(
    state_dir: str, *, from_capture: str = "", install_dir: str = "", force: bool = False
) -> Facts:
    """Return the facts of this machine, or those of the capture in a file.

    Raises UsageError CAPTURE_INVALID if the file is not a capture.
    """
    if from_capture:
        return Facts(interpret(read_capture(from_capture)), f"capture {from_capture}")
    document, origin = load_or_gather(state_dir, __version__, install_dir=install_dir, force=force)
    return Facts(document, origin["source"], origin["why"])


def write_capture(path: str) -> Capture:
    """Write the raw facts of this machine to a file, without names and serial numbers; return them.

    Raises DiskError or PrivilegeError when the file cannot be written.
    """
    path = output_file.require(path)
    capture = scrub(gather(), private=_private_words())
    text = yaml.dump(
        {**capture, _END: True}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120
    )
    write_bytes(path, text.encode("utf-8"))
    return capture


def _private_words() -> list[str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    host = platform.node()
    return [word for word in {host, host.split(".")[0], user} - {"root", ""}]


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes multi-line text as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def read_capture(path: str) -> Capture:
    """Return the capture in a YAML or JSON file. Raises UsageError CAPTURE_INVALID."""
    try:
        content = yaml_file.read(path, _CAPTURE_LIMIT)
    except Unreadable as error:
        raise _invalid(path, error.reason) from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != CAPTURE_SCHEMA:
        raise _invalid(path, f"its schema is {str(schema)[:40]}, not {CAPTURE_SCHEMA}")
    content = dict(content)
    # Earlier versions wrote no mark; their last key was always ``errors``.
    is_whole = content.pop(_END, False) is True or isinstance(content.get("errors"), dict)
    if not is_whole:
        raise _invalid(path, "it is truncated")
    return content


def _invalid(path: str, why: str) -> UsageError:
    return UsageError(
        f"{path} is not a capture: {why}",
        code="CAPTURE_INVALID",
        where="--from-capture",
        hint="write one with: dream-runner facts --capture FILE",
    )


def as_json(facts: Facts) -> dict[str, Any]:
    """Return what ``facts --json`` prints."""
    return {"facts": dict(facts.document), "source": facts.source, "why": facts.why}


def as_table(facts: Facts) -> RenderableType:
    """Return the facts as tables."""
    document = facts.document
    parts: list[RenderableType] = [_host_table(document)]
    if document["gpus"]:
        parts += [Text(), _gpu_table(document)]
    if document["links"]:
        parts += [Text(), _link_table(document)]
    if document["findings"]:
        parts += [Text(), _finding_list(document)]
    return Group(*parts)


def _host_table(document: documents.Facts) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in _host_rows(document):
        _row(table, name, value)
    return table


def _row(table: Table, *cells: str) -> None:
    """Add a row without markup: rich would interpret a device called ``[/x]``."""
    table.add_row(*(Text(cell) for cell in cells))


def _host_rows(document: documents.Facts) -> list[tuple[str, str]]:
    system, memory, cpu = document["os"], document["memory"], document["cpu"]
    where = [system["container"] or "", "WSL" if system["wsl"] else ""]
    inside = ", ".join(word for word in where if word)
    return [
        ("System", f"{_or(system['pretty_name'])}{f' in {inside}' if inside else ''}"),
        (
            "Kernel",
            f"{_or(system['kernel'])}, {document['arch']}, init {_or(document['init']['pid1'])}",
        ),
        (
            "Processor",
            f"{_or(cpu['model'])}, {_or(cpu['cores'])} cores, {_or(cpu['threads'])} threads",
        ),
        ("Memory", _memory(memory)),
        ("Compute", _backend(document)),
    ]


def _memory(memory: documents.Memory) -> str:
    text = _megabytes(memory["total_mb"])
    if memory["limit_mb"]:
        text += f", limited to {memory['limit_mb']} MB"
    if memory["windows_mb"]:
        text += f" (Windows: {memory['windows_mb']} MB)"
    return text


def _backend(document: documents.Facts) -> str:
    host = accelerator(document)
    if host["backend"] == "cpu":
        text = "CPU"
    else:
        kind = f"{_megabytes(host['memory_mb'])} {host['memory_class']}"
        text = f"{host['count']} {host['backend']} GPU(s), {kind}"
    repaired = document["repaired_backend"]
    return f"{text}; {repaired} after its driver is repaired" if repaired else text


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size} MB"


def _or(value: Any) -> str:
    """Return a value as text; None becomes "unknown"."""
    return "unknown" if value is None else str(value)


def _gpu_table(document: documents.Facts) -> Table:
    table = Table(
        "GPU", "Slot", "Memory", "Driver", "Target", "Used", box=None, padding=(0, 2, 0, 0)
    )
    for gpu in document["gpus"]:
        size = "shared" if gpu["memory_class"] != "discrete" else _megabytes(gpu["memory_mb"])
        driver = " ".join(filter(None, [gpu["driver"]["name"], gpu["driver"]["version"]]))
        target = gpu["gfx"] or gpu["compute_capability"]
        used = "yes" if gpu["usable"] else f"no: {gpu['why_not']}"
        name = gpu["name"] or f"{gpu['vendor']} {gpu['pci_id']}"
        _row(table, name, _or(gpu["pci_slot"]), size, driver or "none", _or(target), used)
    return table


def _link_table(document: documents.Facts) -> Table:
    kinds = [link["kind"] for link in document["links"]]
    table = Table.grid(padding=(0, 2))
    for kind in sorted(set(kinds)):
        _row(table, "Links", f"{kinds.count(kind)} x {kind}")
    return table


def _finding_list(document: documents.Facts) -> Text:
    lines = []
    for finding in document["findings"]:
        lines.append(f"{finding['severity']}: {finding['what']} [{finding['id']}]")
        lines.append(f"  hint: {finding['hint']}")
    return Text("\n".join(lines))


@dataclass(frozen=True)
class Explanation:
    """Why this host gets its tier and its model. ``error`` is set if no model could be chosen."""

    tier: Tier
    rules: list[dict[str, str]]
    model: Model | None
    models: list[Candidate]
    error: DreamError | None = None
    changes: list[str] = field(default_factory=list)
    fast_start: str = ""
    catalogue: list[Listed] = field(default_factory=list)


def explain(
    facts: Facts,
    catalog: Any,
    *,
    tier: str = "auto",
    model: str = "auto",
    context_tokens: int = 0,
    memory_limit_mb: int = 0,
) -> Explanation:
    """Return which rule matched, which is next, what the model needs, and what would change that.

    Raises UsageError for a tier or model that does not exist.
    """
    document = facts.document
    chosen = tiers.choose_tier(document, catalog.tiers, tier, memory_limit_mb)
    rules = tiers.explain(document, catalog.tiers, memory_limit_mb)
    rows = models.explain(document, chosen, catalog.models, context_tokens, memory_limit_mb)
    pick, error = _choose(document, chosen, catalog, model, context_tokens, memory_limit_mb)
    fast_start = outlook(catalog.models, pick) if pick else ""
    changes = _changes(document, chosen, rows)
    every = models.listing(document, chosen, catalog.models, context_tokens, memory_limit_mb)
    return Explanation(chosen, rules, pick, rows, error, changes, fast_start, every)


def _choose(
    document: documents.Facts,
    tier: Tier,
    catalog: Any,
    model: str,
    context_tokens: int,
    memory_limit_mb: int,
) -> tuple[Model | None, DreamError | None]:
    try:
        pick = models.choose_model(
            document, tier, catalog.models, model, context_tokens, memory_limit_mb
        )
    except UsageError:
        raise
    except DreamError as error:
        return None, error
    return pick, None


def _changes(document: documents.Facts, tier: Tier, rows: list[Candidate]) -> list[str]:
    """Return what would change the tier or the model."""
    changes = []
    following = tier["next"]
    if tier["overridden"]:
        changes.append("--tier auto would choose the tier from the table again")
    elif following:
        changes.append(f"tier {following['id']} (rule {following['rule']}): {following['needs']}")
    if document["repaired_backend"]:
        changes.append(
            f"with a working driver, the backend would be {document['repaired_backend']}"
        )
    first = rows[0]
    if first["result"] == "no" and first["need_mb"] > first["have_mb"]:
        missing = first["need_mb"] - first["have_mb"]
        changes.append(
            f"with {missing} MB more memory, {first['id']} would run with its full context"
        )
    return changes


def explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    """Return what ``explain --json`` prints."""
    return {
        "tier": dict(explanation.tier),
        "rules": explanation.rules,
        "model": dict(explanation.model) if explanation.model else None,
        "models": explanation.models,
        "error": explanation.error.to_dict() if explanation.error else None,
        "changes": explanation.changes,
        "fast_start": explanation.fast_start,
        "catalogue": explanation.catalogue,
    }


def explanation_as_table(explanation: Explanation) -> RenderableType:
    """Return the explanation as tables: the choice, the reasons, and what would change it."""
    tier, model = explanation.tier, explanation.model
    head = [f"Tier {tier['id']} ({tier['name']}), by rule {tier['rule']}: {tier['reason']}"]
    if model:
        head.append(f"Model {model['name']} at {model['context_tokens']} tokens: {model['why']}")
        head.append(f"Fast start: {explanation.fast_start}")
    if explanation.error:
        head.append(f"No model: {explanation.error.what}")
    changes = [f"- {line}" for line in explanation.changes] or [
        "- nothing: this is the highest tier"
    ]
    return Group(
        Text("\n".join(head)),
        Text("\nRules (the first match is used):"),
        _rule_table(explanation.rules),
        Text("\nModels (the first that fits is used):"),
        _model_table(explanation.models),
        Text("\nAll models in the catalogue (to use one: 'dream-runner install --model ID'):"),
        _catalogue_table(explanation.catalogue),
        Text("\nWhat would change it:\n" + "\n".join(changes)),
    )


def _rule_table(rules: list[dict[str, str]]) -> Table:
    """Return the rules for this host's kind of hardware."""
    table = Table("Rule", "Tier", "Result", "Reason", box=None, padding=(0, 2, 0, 0))
    for row in (row for row in rules if row["result"] != "other"):
        _row(table, row["rule"], row["tier"], row["result"], row["why"])
    return table


def _model_table(rows: list[Candidate]) -> Table:
    table = Table(
        "Model", "Context", "Needs", "Available", "Result", box=None, padding=(0, 2, 0, 0)
    )
    for row in rows:
        result = f"no: {row['why']}" if row["why"] else row["result"]
        need, have = f"{row['need_mb']} MB", f"{row['have_mb']} MB"
        _row(table, row["id"], str(row["context_tokens"]), need, have, result)
    return table


def _catalogue_table(rows: list[Listed]) -> Table:
    table = Table("Model", "Size", "Needs", "Fits here", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        fits = f"no: {row['why_not']}" if row["why_not"] else "yes"
        _row(table, row["id"], size(row["size_bytes"]), f"{row['need_mb']} MB", fits)
    return table
