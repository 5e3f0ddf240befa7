"""Which GPUs the engine and its helpers use, by what fits and how cards are linked.

The engine takes the fewest cards that hold the model, the best linked among
equals; helpers take what is left. An assignment that is still possible is
kept as it is, because moving a model between cards restarts services (H10).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from ..module_utils.dream_core.facts.totals import is_split, memory_of, usable_gpus
from ..module_utils.dream_core.types.choice import GpuAssignment
from ..module_utils.dream_core.types.facts import Facts, Gpu

#: Services beside the engine that can use a GPU, in the order in which they choose.
HELPERS = ("whisper", "comfyui", "embeddings")

#: Cards of one host that are tried in every combination; beyond this, the largest ones.
_MOST_TRIED = 12

#: How good a link is, by its name in ``nvidia-smi topo -m`` and KFD.
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
    """Return how good a link is, 0 (unknown) to 100.

    NVLinks by their number, whatever it is: a table of the usual ones ranks
    NV5, NV10 and NV16 as no link at all (U-18).
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

    ``model_mb`` is weights and cache; ``reserve_mb`` is kept free on every card. An
    empty ``engine`` means that the cards cannot hold it. ``previous`` is what this
    function returned before: kept while its cards are there and still hold the model.
    """
    gpus = usable_gpus(facts)
    if previous and _still_good(previous, gpus, model_mb, reserve_mb, helpers):
        # An earlier version may have spread the model in another way.
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
    """Return the largest first; the id settles equals, so that the order found does not count."""
    return sorted(gpus, key=lambda gpu: (-(memory_of(gpu) or 0), gpu["id"]))


def _ranks(facts: Facts) -> dict[tuple[str, str], int]:
    ranks: dict[tuple[str, str], int] = {}
    for link in facts.get("links") or []:
        rank = link_rank(link["kind"])
        ranks[link["a"], link["b"]] = ranks[link["b"], link["a"]] = rank
    return ranks


def _worst(gpus: Sequence[Gpu], ranks: dict[tuple[str, str], int]) -> int:
    """Return the rank of the slowest link among some cards; an unknown one counts as slowest."""
    pairs = itertools.combinations(gpus, 2)
    return min((ranks.get((a["id"], b["id"]), 0) for a, b in pairs), default=100)


def _choose(
    gpus: Sequence[Gpu], ranks: dict[tuple[str, str], int], model_mb: int, reserve_mb: int
) -> list[Gpu]:
    """Return the fewest cards that hold the model: best linked first, then largest."""
    tried = _by_size([gpu for gpu in gpus if not is_split(gpu)])
    for count in range(1, min(len(tried), _MOST_TRIED) + 1):
        groups = [list(group) for group in itertools.combinations(tried[:_MOST_TRIED], count)]
        fitting = [g for g in groups if sum(_free(gpu, reserve_mb) for gpu in g) >= model_mb]
        if fitting:
            return max(fitting, key=lambda g: (_worst(g, ranks), _even(g, reserve_mb)))
    parts = [gpu for gpu in gpus if gpu not in tried and _free(gpu, reserve_mb) >= model_mb]
    return _by_size(parts)[:1]


def _even(group: Sequence[Gpu], reserve_mb: int) -> int:
    """Return the smallest card's memory: a group is as good as the weakest in it."""
    return min(_free(gpu, reserve_mb) for gpu in group)


def _place(helpers: Sequence[str], engine: list[Gpu], left: list[Gpu]) -> dict[str, list[str]]:
    """Give every helper one card: its own where enough are left, else a shared one."""
    if not engine:
        return {}
    ordered = sorted(helpers, key=lambda n: HELPERS.index(n) if n in HELPERS else len(HELPERS))
    cards = left or engine[-1:]
    return {
        name: [cards[min(position, len(cards) - 1)]["id"]] for position, name in enumerate(ordered)
    }


def _parallel(engine: Sequence[Gpu]) -> GpuAssignment:
    """Return how the model is spread: mode, llama.cpp's split mode and shares.

    Each card gets whole layers: llama.cpp dropped the split by rows in build 9890.
    """
    if len(engine) <= 1:
        return {"parallel": "none", "split_mode": "none", "tensor_split": []}
    return {"parallel": "pipeline", "split_mode": "layer", "tensor_split": _shares(engine)}


def _shares(engine: Sequence[Gpu]) -> list[float]:
    """Return the share of each card: equal ones for equal cards, else by memory."""
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
