"""Choose the model of a host: the first of its tier that fits, and a context that fits.

The memory that a model needs is computed from its architecture: weights, key-value cache for
every token of the context, and state of recurrent layers. A constant per parameter
would be wrong by a factor of ten (U-81).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from ..catalog import entries
from ..module_utils.dream_core.document import TypedDict
from ..module_utils.dream_core.errors import RequirementError, UsageError
from ..module_utils.dream_core.facts.totals import accelerator, ram_mb
from ..module_utils.dream_core.types.choice import Model, ModelFile, Tier
from ..module_utils.dream_core.types.facts import Facts

#: Bytes of one cached value (f16) and of one value of recurrent state (f32).
_CACHE_BYTES, _STATE_BYTES = 2, 4

_MIB = 1024 * 1024


def choose_model(
    facts: Facts,
    tier: Tier,
    models_catalog: entries.Models,
    wanted: str = "auto",
    context_tokens: int = 0,
    memory_limit_mb: int = 0,
    only: Collection[str] | None = None,
) -> Model:
    """Return ``{id, name, file, sha256, size_bytes, urls, files, context_tokens, need_mb, why}``.

    ``need_mb`` is weights and cache at that context. With ``context_tokens`` 0, the context
    depends on the host; a number is kept, and models that do not support it are skipped (U-59).
    ``only`` are the ids that ``auto`` may choose; None means all.
    Raises UsageError UNKNOWN_MODEL, RequirementError MODEL_TOO_LARGE (a wanted one) or
    NO_MODEL_FITS.
    """
    have = budget_mb(facts, models_catalog["budgets"], memory_limit_mb)
    if wanted != "auto":
        model = find_model(models_catalog, wanted)
        return _wanted(models_catalog, tier, model, have, context_tokens, _avoided(model, facts))
    plan = models_catalog["tiers"][tier["id"]]
    refused: list[str] = []
    for model in candidates(models_catalog, tier["id"]):
        obstacle = _avoided(model, facts)
        if only is not None and model["id"] not in only:
            obstacle = "not downloaded, and --offline is set"
        context, problem = fit(model, have, context_tokens, plan["context_tokens"])
        if context and not obstacle:
            return _answer(model, context, _why(model, context, have, tier, refused))
        refused.append("{} ({})".format(model["id"], obstacle or problem))
    raise RequirementError(
        "no model fits this host: {}".format("; ".join(refused)),
        code="NO_MODEL_FITS",
        hint="use a smaller context (--context-tokens), or add memory"
        if only is None
        else "use a --bundle that contains a model, or --model with the path of a GGUF file",
    )


def choose_given(
    model: entries.ModelEntry,
    facts: Facts,
    tier: Tier,
    models_catalog: entries.Models,
    context_tokens: int = 0,
    memory_limit_mb: int = 0,
) -> Model:
    """Return ``model`` in the form that ``choose_model`` returns; it may be outside the catalogue.

    Raises RequirementError MODEL_TOO_LARGE if it does not fit this host.
    """
    have = budget_mb(facts, models_catalog["budgets"], memory_limit_mb)
    return _wanted(models_catalog, tier, model, have, context_tokens, None)


class Candidate(TypedDict):
    """A model of a host's tier, and whether it fits."""

    id: str
    need_mb: int
    have_mb: int
    context_tokens: int
    #: chosen, fits (it came after the chosen one) or no.
    result: str
    why: str


class Listed(TypedDict):
    """A model of the catalogue; ``why_not`` is empty if it fits this host."""

    id: str
    name: str
    size_bytes: int
    need_mb: int
    context_tokens: int
    why_not: str


def explain(
    facts: Facts,
    tier: Tier,
    models_catalog: entries.Models,
    context_tokens: int = 0,
    memory_limit_mb: int = 0,
) -> list[Candidate]:
    """Return every candidate in order: ``{id, need_mb, have_mb, context_tokens, result, why}``.

    ``result`` is ``chosen``, ``fits`` (it came after the chosen one) or ``no``.
    """
    have = budget_mb(facts, models_catalog["budgets"], memory_limit_mb)
    planned = models_catalog["tiers"][tier["id"]]["context_tokens"]
    rows: list[Candidate] = []
    for model in candidates(models_catalog, tier["id"]):
        context, problem = fit(model, have, context_tokens, planned)
        why = _avoided(model, facts) or problem
        later = any(row["result"] == "chosen" for row in rows)
        tokens = context or context_tokens or min(planned, model["max_context_tokens"])
        rows.append(
            {
                "id": model["id"],
                "need_mb": need_mb(model, tokens),
                "have_mb": have,
                "context_tokens": tokens,
                "result": "no" if why else "fits" if later else "chosen",
                "why": why or "",
            }
        )
    return rows


def listing(
    facts: Facts,
    tier: Tier,
    models_catalog: entries.Models,
    context_tokens: int = 0,
    memory_limit_mb: int = 0,
) -> list[Listed]:
    """Return every model of the catalogue: ``{id, name, size_bytes, need_mb, context, why_not}``.

    ``why_not`` is empty if it fits this host.
    """
    have = budget_mb(facts, models_catalog["budgets"], memory_limit_mb)
    planned = models_catalog["tiers"][tier["id"]]["context_tokens"]
    rows: list[Listed] = []
    for model in models_catalog["models"]:
        context, problem = fit(model, have, context_tokens, planned)
        tokens = context or context_tokens or min(planned, model["max_context_tokens"])
        rows.append(
            {
                "id": model["id"],
                "name": model["name"],
                "size_bytes": sum(item["size_bytes"] or 0 for item in model["files"])
                or int(model["size_mb"]) * 1_000_000,
                "need_mb": need_mb(model, tokens),
                "context_tokens": tokens,
                "why_not": problem or _avoided(model, facts) or "",
            }
        )
    return sorted(rows, key=lambda row: row["size_bytes"])


def candidates(models_catalog: entries.Models, tier_id: str) -> list[entries.ModelEntry]:
    """Return a tier's models in order, then those of all lower tiers."""
    order = models_catalog["fallback"]
    ids: list[str] = list(models_catalog["tiers"][tier_id]["models"])
    ids += [name for name in order if name not in ids]
    by_id = {model["id"]: model for model in models_catalog["models"]}
    return [by_id[name] for name in ids]


def _wanted(
    models_catalog: entries.Models,
    tier: Tier,
    model: entries.ModelEntry,
    have: int,
    context_tokens: int,
    warning: str | None,
) -> Model:
    plan = models_catalog["tiers"][tier["id"]]
    context, problem = fit(model, have, context_tokens, plan["context_tokens"])
    if context:
        why = "chosen by the user"
        return _answer(model, context, f"{why}; warning: {warning}" if warning else why)
    raise RequirementError(
        "{} cannot run on this host: {}".format(model["name"], problem),
        code="MODEL_TOO_LARGE",
        where="model",
        hint="choose a smaller model or context, or --model auto",
    )


def find_model(models_catalog: entries.Models, wanted: str) -> entries.ModelEntry:
    """Return a model by its id. Raises UsageError UNKNOWN_MODEL with the nearest ids."""
    by_id: dict[str, entries.ModelEntry] = {
        model["id"]: model for model in models_catalog["models"]
    }
    if wanted in by_id:
        return by_id[wanted]
    near = difflib.get_close_matches(wanted.lower(), by_id, n=3, cutoff=0.4)
    raise UsageError(
        f"there is no model {wanted!r} in the catalogue",
        code="UNKNOWN_MODEL",
        where="model",
        hint="did you mean {}?".format(" or ".join(near or sorted(by_id))),
    )


# --- what a model needs ---------------------------------------------------------------------


def weights_mb(model: entries.ModelEntry) -> int:
    """Return the MiB of a model's files: exact if known, else the planning figure.

    The planning figure is in rounded decimal megabytes. Read as MiB, it is 5 % too large, which
    is safe.
    """
    exact: list[int] = [file["size_bytes"] or 0 for file in model["files"]]
    if all(exact):
        return -(-sum(exact) // _MIB)
    return int(model["size_mb"])


def cache_bytes(model: entries.ModelEntry, context_tokens: int) -> int:
    """Return the bytes of keys, values and recurrent state for a context.

    A layer with an attention window keeps only that many tokens and one more batch.
    """
    total: int = 0
    for group in model["architecture"]["attention"]:
        tokens = min(context_tokens, group.get("window_tokens") or context_tokens)
        values = group["kv_heads"] * (group["key_dim"] + group["value_dim"])
        total += group["layers"] * tokens * values * _CACHE_BYTES
    state = model["architecture"].get("recurrent")
    if state:
        values = state["heads"] * state["key_dim"] * state["value_dim"]
        total += state["layers"] * values * _STATE_BYTES
    return total


def need_mb(model: entries.ModelEntry, context_tokens: int) -> int:
    """Return the MiB that a model needs at a context: weights, cache and state."""
    return weights_mb(model) - (-cache_bytes(model, context_tokens) // _MIB)


# --- what a host has ------------------------------------------------------------------------


def budget_mb(facts: Facts, budgets: entries.Budgets, memory_limit_mb: int = 0) -> int:
    """Return the MiB that a model may use on this host.

    Discrete GPUs: their sum minus a reserve for each. Unified memory and RAM: a share, because
    the system and the other services need memory too.
    """
    host = accelerator(facts, memory_limit_mb)
    reserve = int(budgets["gpu_reserve_mb"])
    if host["memory_class"] == "discrete":
        return max(0, int(host["memory_mb"] or 0) - int(host["count"]) * reserve)
    if host["memory_class"] == "unified":
        share = (host["memory_mb"] or 0) * int(budgets["unified_percent"]) // 100
        return max(0, min([share, *_windows(facts, host["gpus"])]) - reserve)
    ram = ram_mb(facts, memory_limit_mb) or 0
    return max(0, ram * int(budgets["cpu_percent"]) // 100 - int(budgets["cpu_reserve_mb"]))


def _windows(facts: Facts, ids: list[str]) -> list[int]:
    """Return the MiB that unified GPUs can address now, as far as their drivers report it."""
    sizes = [gpu.get("window_mb") for gpu in facts["gpus"] if gpu["id"] in ids]
    return [int(size) for size in sizes if size]


def fit(
    model: entries.ModelEntry, have_mb: int, asked_tokens: int, planned_tokens: int
) -> tuple[int, str | None]:
    """Return ``(context, None)`` for the largest context that fits, else ``(0, why not)``.

    A requested context is used as it is; a planned one is halved until it fits, down to the
    minimum for a chat.
    """
    most = model["max_context_tokens"]
    if asked_tokens > most:
        return 0, f"its maximum context is {most} tokens, but {asked_tokens} were requested"
    context = asked_tokens or min(planned_tokens, most)
    least = asked_tokens or min(context, _LEAST_TOKENS)
    while need_mb(model, context) > have_mb and context > least:
        context = max(least, context // 2)
    need = need_mb(model, context)
    if need > have_mb:
        return 0, f"it needs {need} MB at {context} tokens, but only {have_mb} MB are available"
    return context, None


#: Minimum context for a conversation with tools or documents.
_LEAST_TOKENS = 8192


def _avoided(model: entries.ModelEntry, facts: Facts) -> str | None:
    """Return why a model does not work on this kind of host, or None."""
    host = accelerator(facts)
    seen = {
        "arch": facts.get("arch"),
        "backend": host["backend"],
        "memory_class": host["memory_class"],
    }
    for rule in model.get("avoid") or []:
        if all(seen[key] == value for key, value in rule["when"].items()):
            return str(rule["why"])
    return None


def _why(model: entries.ModelEntry, context: int, have: int, tier: Tier, refused: list[str]) -> str:
    text = (
        f"tier {tier['id']}: needs {need_mb(model, context)} of {have} MB"
        f" at {context} tokens of context"
    )
    return "{}; skipped: {}".format(text, "; ".join(refused)) if refused else text


def _answer(model: entries.ModelEntry, context: int, why: str) -> Model:
    files: list[ModelFile] = [
        {"file": f["file"], "sha256": f["sha256"], "size_bytes": f["size_bytes"], "urls": f["urls"]}
        for f in model["files"]
    ]
    return {
        "file": files[0]["file"],
        "sha256": files[0]["sha256"],
        "size_bytes": files[0]["size_bytes"],
        "urls": files[0]["urls"],
        # The engine's defaults; a client can override them.
        "sampling": dict(model.get("sampling") or {}),
        "chat_template": str(model.get("chat_template") or ""),
        "id": model["id"],
        "name": model["name"],
        "files": files,
        "context_tokens": context,
        "need_mb": need_mb(model, context),
        "size_mb": int(model["size_mb"]),
        "why": why,
    }
