"""What holds for every machine, whatever is done to what its probes said."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dream_runner import catalog
from dream_runner.decide import gpu_assignment, models, tiers
from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.facts.totals import accelerator, ram_mb
from unit.facts.replay import NAMES, load

CATALOG = catalog.load()
RANKS = {tier["id"]: tier["rank"] for tier in CATALOG.tiers["tiers"]}
BOUNDED = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def tier_of(facts, **options):
    return tiers.choose_tier(facts, CATALOG.tiers, **options)


def shuffle_rows(text, rng):
    """Return nvidia-smi's answer with its rows in another order; the header stays first."""
    head, *rows = text.splitlines()
    rng.shuffle(rows)
    return "\n".join([head, *rows]) + "\n"


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "-2x" in n or "-4x" in n or "-8x" in n or "hybrid" in n]
)
def test_order_in_which_gpus_are_found_changes_nothing(name):
    capture = load(name)
    expected = interpret(load(name))
    rng = random.Random(name)
    rng.shuffle(capture["pci"] or [])
    rng.shuffle(capture["amd"]["kfd"])
    rng.shuffle(capture["nodes"])
    query = ((capture["nvidia"]["smi"] or {}).get("query") or {}).get("stdout")
    if query and query.startswith("index"):
        capture["nvidia"]["smi"]["query"]["stdout"] = shuffle_rows(query, rng)
    facts = interpret(capture)
    expected["devices"].sort(key=lambda node: node["path"])
    facts["devices"].sort(key=lambda node: node["path"])
    assert facts == expected
    assert gpu_assignment.assign(facts, 30000) == gpu_assignment.assign(expected, 30000)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("apple")])
def test_more_ram_never_lowers_the_tier(name):
    capture = load(name)
    memory = capture["memory"]
    facts = interpret(load(name))
    ranks = []
    for extra in (0, 2000, 10000, 40000, 100000, 500000):
        total = (facts["memory"]["total_mb"] + extra) * 1024
        memory["meminfo"] = f"MemTotal: {total} kB"
        ranks.append(RANKS[tier_of(interpret(capture))["id"]])
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", NAMES)
def test_more_gpu_memory_never_lowers_the_tier(name):
    facts = interpret(load(name))
    ranks = []
    for percent in (100, 101, 110, 150, 200, 400, 1000):
        grown = interpret(load(name))
        for before, gpu in zip(facts["gpus"], grown["gpus"], strict=True):
            if before["usable"] and before["memory_mb"]:
                gpu["memory_mb"] = before["memory_mb"] * percent // 100
        ranks.append(RANKS[tier_of(grown)["id"]])
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", NAMES)
def test_a_memory_limit_of_the_user_never_raises_the_tier(name):
    facts = interpret(load(name))
    ranks = [
        RANKS[tier_of(facts, memory_limit_mb=limit)["id"]]
        for limit in (2000, 8000, 16000, 64000, 128000, 10**6, 0)
    ]
    assert ranks == sorted(ranks)


def texts(value, path=()):
    """Yield the place of every text in a capture."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, (*path, index))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def put(value, path, new):
    at(value, path[:-1])[path[-1]] = new


def probes(name):
    capture = load(name)
    return {key: capture[key] for key in capture if key not in ("about", "expect")}


def memories(facts):
    return {gpu["pci_slot"]: gpu["memory_mb"] or 0 for gpu in facts["gpus"]}


@BOUNDED
@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_cut_off_output_never_raises_nor_adds_memory(name, rng):
    capture = probes(name)
    before = interpret(probes(name))
    place = rng.choice(list(texts(capture)))
    text = at(capture, place)
    put(capture, place, text[: rng.randrange(len(text) + 1)])
    facts = interpret(capture)
    assert (facts["memory"]["total_mb"] or 0) <= (before["memory"]["total_mb"] or 0)
    assert (ram_mb(facts) or 0) <= (before["memory"]["total_mb"] or 0)
    claimed = memories(before)
    if "intel" not in name and "slot" not in place:
        # An Intel card is sized by its id: another id is another card.
        assert all(size <= claimed.get(slot, 0) for slot, size in memories(facts).items())
    tier_of(facts)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=40),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=3),
    st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers()), max_size=3),
)


def places(value, path=()):
    """Yield every place in a capture, inner ones included."""
    if path:
        yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    if isinstance(value, (dict, list)):
        for key, item in steps:
            yield from (
                places(item, (*path, key)) if isinstance(item, (dict, list)) else [(*path, key)]
            )


@BOUNDED
@given(st.sampled_from(NAMES), st.randoms(use_true_random=False), VALUES)
def test_any_value_in_any_place_never_raises(name, rng, value):
    capture = probes(name)
    put(capture, rng.choice(list(places(capture))), value)
    facts = interpret(capture)
    assert all(gpu["memory_mb"] != 0 for gpu in facts["gpus"])
    try:
        models.choose_model(facts, tier_of(facts), CATALOG.models)
    except DreamError:
        # No model fits what is left; that is an answer.
        assert accelerator(facts)["memory_mb"] is None or ram_mb(facts) is not None


@BOUNDED
@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_scrambled_output_never_raises(name, rng):
    capture = probes(name)
    for place in rng.sample(list(texts(capture)), k=3):
        text = list(at(capture, place))
        for _ in range(rng.randrange(1, 6)):
            text.insert(rng.randrange(len(text) + 1), rng.choice("\0\n ,:[]{}'\"%\udcff\u202e9xE-"))
        put(capture, place, "".join(text))
    facts = interpret(capture)
    tier_of(facts)
    gpu_assignment.assign(facts, 20000, ("whisper", "comfyui"))


@given(VALUES)
def test_anything_as_a_capture_gives_a_document(value):
    assert interpret(value)["backend"] == "cpu"
