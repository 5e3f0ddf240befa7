"""Assign GPUs to the engine and its helpers, by memory and by links between cards.

The engine gets the fewest cards that hold the model, and of these the best linked. Helpers get
the remaining cards. An earlier assignment that is still possible is kept, because moving a
model between cards restarts services (H10).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from ..module_utils.dream_core.facts.totals import is_split, memory_of, usable_gpus
from ..module_utils.dream_core.types.choice import GpuAssignment
from ..module_utils.dream_core.types.facts import Facts, Gpu

#: Other services that can use a GPU, in the order of assignment.
HELPERS = ("whisper", "comfyui", "embeddings")

#: Number of cards up to which every combination is tried; above it, the largest are used.
_MOST_TRIED = 12

#: Rank of a link by its name in ``nvidia-smi topo -m`` and KFD.
_LINK_RANKS = {
    "XGMI": 90,
    "PIX": 50,
    "PXB": 40,
    "PHB": 30,
    "NODE": 20,
    "SYS": 10,
    "SOC": 10,
}


def link_rank(kind: str) -> int:
    """Return the rank of a link, from 0 (unknown) to 100.

    The rank of NVLink grows with any number of links: a table of common ones would miss
    NV5, NV10 and NV16 (U-18).
    """
    match = re.fullmatch(r"NV(\d{1,2})", kind)
    if match:
        return 100 if int(match[1]) >= 4 else 80
    return _LINK_RANKS.get(kind, 0)


def assign(
    facts: Facts,
    model_mb: int,
    helpers: Sequence[str] = (),
    previous: GpuAssignment | None = None,
    reserve_mb: int = 1024,
) -> GpuAssignment:
    """Return ``{engine: [id], helpers: {name: [id]}, strategy, parallel, split_mode, ...}``.

    ``model_mb`` is weights and cache; ``reserve_mb`` is kept free on every card. An empty
    ``engine`` means that the cards cannot hold the model. ``previous`` is an earlier result; it is
    kept as long as its cards exist and can hold the model.
    """
    gpus = usable_gpus(facts)
    if previous and _still_good(previous, gpus, model_mb, reserve_mb, helpers):
        # An earlier version may have split the model in another way.
        engine = [gpu for name in previous["engine"] for gpu in gpus if gpu["id"] == name]
        return {**previous, **_parallel(engine), "kept": True}
    ranks = _ranks(facts)
    engine = _choose(gpus, ranks, model_mb, reserve_mb)
    left = [gpu for gpu in _by_size(gpus) if gpu not in engine]
    return {
        **_parallel(engine),
        "engine": [gpu["id"] for gpu in engine],
        "helpers": _place(helpers, engine, left),
        "strategy": "dedicated" if engine and len(left) >= len(helpers) else "colocated",
        "kept": False,
    }


def _free(gpu: Gpu, reserve_mb: int) -> int:
    return max(0, (memory_of(gpu) or 0) - reserve_mb)


def _by_size(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the largest cards first; equal ones by id, so that the result is stable."""
    return sorted(gpus, key=lambda gpu: (-(memory_of(gpu) or 0), gpu["id"]))


def _ranks(facts: Facts) -> dict[tuple[str, str], int]:
    ranks: dict[tuple[str, str], int] = {}
    for link in facts.get("links") or []:
        rank = link_rank(link["kind"])
        ranks[link["a"], link["b"]] = ranks[link["b"], link["a"]] = rank
    return ranks


def _worst(gpus: Sequence[Gpu], ranks: dict[tuple[str, str], int]) -> int:
    """Return the rank of the slowest link between the cards; unknown links count as slowest."""
    pairs = itertools.combinations(gpus, 2)
    return min((ranks.get((a["id"], b["id"]), 0) for a, b in pairs), default=100)


def _choose(
    gpus: Sequence[Gpu], ranks: dict[tuple[str, str], int], model_mb: int, reserve_mb: int
) -> list[Gpu]:
    """Return the smallest group of cards that holds the model: best linked, then largest."""
    tried = _by_size([gpu for gpu in gpus if not is_split(gpu)])
    for count in range(1, min(len(tried), _MOST_TRIED) + 1):
        groups = [list(group) for group in itertools.combinations(tried[:_MOST_TRIED], count)]
        fitting = [g for g in groups if sum(_free(gpu, reserve_mb) for gpu in g) >= model_mb]
        if fitting:
            return max(fitting, key=lambda g: (_worst(g, ranks), _even(g, reserve_mb)))
    parts = [gpu for gpu in gpus if gpu not in tried and _free(gpu, reserve_mb) >= model_mb]
    return _by_size(parts)[:1]


def _even(group: Sequence[Gpu], reserve_mb: int) -> int:
    """Return the smallest card's memory, which limits the whole group."""
    return min(_free(gpu, reserve_mb) for gpu in group)


def _place(helpers: Sequence[str], engine: list[Gpu], left: list[Gpu]) -> dict[str, list[str]]:
    """Assign one card to each helper: a free one if available, else a shared one."""
    if not engine:
        return {}
    ordered = sorted(helpers, key=lambda n: HELPERS.index(n) if n in HELPERS else len(HELPERS))
    cards = left or engine[-1:]
    return {
        name: [cards[min(position, len(cards) - 1)]["id"]] for position, name in enumerate(ordered)
    }


def _parallel(engine: Sequence[Gpu]) -> GpuAssignment:
    """Return how the model is split: mode, llama.cpp's split mode, and shares.

    Each card gets whole layers: llama.cpp removed the split by rows in build 9890.
    """
    if len(engine) <= 1:
        return {"parallel": "none", "split_mode": "none", "tensor_split": []}
    return {"parallel": "pipeline", "split_mode": "layer", "tensor_split": _shares(engine)}


def _shares(engine: Sequence[Gpu]) -> list[float]:
    """Return the share of each card: equal for equal cards, else by memory."""
    sizes = [memory_of(gpu) or 0 for gpu in engine]
    if len(set(sizes)) == 1:
        return [1.0] * len(sizes)
    return [round(size / sum(sizes), 4) for size in sizes]


def _still_good(
    previous: GpuAssignment,
    gpus: Sequence[Gpu],
    model_mb: int,
    reserve_mb: int,
    helpers: Sequence[str],
) -> bool:
    by_id = {gpu["id"]: gpu for gpu in gpus}
    engine = previous.get("engine") or []
    placed = previous.get("helpers") or {}
    ids = [*engine, *(name for names in placed.values() for name in names)]
    if not engine or any(name not in by_id for name in ids) or set(placed) != set(helpers):
        return False
    return sum(_free(by_id[name], reserve_mb) for name in engine) >= model_mb
