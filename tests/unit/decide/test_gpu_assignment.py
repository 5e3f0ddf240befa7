"""GPUs are given by fit, links and UUID, and stay where they were."""

from __future__ import annotations

import random

import pytest

from dream_runner.decide.gpu_assignment import assign, link_rank
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from unit.facts.replay import load


def facts(name):
    return interpret(load(name))


@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        *[(f"NV{number}", 80) for number in (1, 2, 3)],
        *[(f"NV{number}", 100) for number in (4, 5, 6, 8, 10, 12, 16, 18)],
        ("XGMI", 90), ("PIX", 50), ("PXB", 40), ("PHB", 30), ("NODE", 20), ("SYS", 10), ("SOC", 10),
        ("", 0), ("NV", 0), ("NV123", 0), ("weird", 0),
    ],
)  # fmt: skip
def test_links_are_ranked_by_what_they_are(kind, rank):
    assert link_rank(kind) == rank


def test_a_model_that_fits_one_card_gets_one():
    found = assign(facts("nvidia-8x-h100-nv18"), 40000, ("whisper", "comfyui", "embeddings"))
    assert len(found["engine"]) == 1
    assert found["split_mode"] == "none"
    assert found["strategy"] == "dedicated"
    used = [name for names in found["helpers"].values() for name in names]
    assert len({*used, *found["engine"]}) == 4


def test_the_best_linked_pair_is_taken():
    host = facts("nvidia-4x-rtx3090-no-nvlink")
    found = assign(host, 40000)
    kinds = {(link["a"], link["b"]): link["kind"] for link in host["links"]}
    assert kinds[tuple(sorted(found["engine"]))] == "PIX"
    assert found["parallel"] == "pipeline"
    assert found["split_mode"] == "layer"


@pytest.mark.parametrize(
    ("capture", "size"),
    [
        ("nvidia-2x-rtx3090-nv4", 40000),
        ("nvidia-4x-nv5-nv10-nv16", 300000),
        ("amd-4x-mi300x-xgmi", 300000),
        ("nvidia-2x-rtx4090-no-topo", 40000),
    ],
)
def test_every_card_gets_whole_layers_whatever_links_them(capture, size):
    """llama.cpp dropped the split by rows in build 9890."""
    found = assign(facts(capture), size)
    assert (found["parallel"], found["split_mode"]) == ("pipeline", "layer")
    assert found["tensor_split"] == [1.0] * len(found["engine"])


def test_an_assignment_of_an_earlier_version_keeps_its_cards_and_loses_its_rows():
    host = facts("nvidia-2x-rtx3090-nv4")
    now = assign(host, 40000)
    before = dict(now, parallel="tensor", split_mode="row")
    assert assign(host, 40000, previous=before) == dict(now, kept=True)


def test_unequal_cards_share_by_memory():
    host = facts("nvidia-2x-rtx3090-nv4")
    host["gpus"][0]["memory_mb"] = 12288
    assert assign(host, 30000)["tensor_split"] == [0.6667, 0.3333]


def test_what_the_cards_cannot_hold_is_not_assigned():
    found = assign(facts("nvidia-rtx4090-24gb"), 50000, ("whisper",))
    assert found["engine"] == []
    assert found["helpers"] == {}


def test_one_card_is_shared_by_all():
    found = assign(facts("nvidia-rtx4090-24gb"), 15000, ("whisper", "comfyui"))
    assert found["strategy"] == "colocated"
    assert set(map(tuple, found["helpers"].values())) == {tuple(found["engine"])}


def test_an_assignment_is_kept_while_it_is_possible():
    host = facts("nvidia-4x-a100-80gb-nv12")
    first = assign(host, 40000, ("whisper",))
    moved = dict(
        first, engine=[host["gpus"][3]["id"]], helpers={"whisper": [host["gpus"][2]["id"]]}
    )
    again = assign(host, 40000, ("whisper",), previous=moved)
    assert again["engine"] == moved["engine"]
    assert again["kept"] is True


@pytest.mark.parametrize("change", ["gone", "grown", "helpers"])
def test_an_assignment_that_is_no_longer_possible_is_made_anew(change):
    host = facts("nvidia-4x-a100-80gb-nv12")
    first = assign(host, 40000, ("whisper",))
    model, helpers = 40000, ["whisper"]
    if change == "gone":
        host["gpus"] = [gpu for gpu in host["gpus"] if gpu["id"] not in first["engine"]]
    elif change == "grown":
        model = 90000
    else:
        helpers.append("comfyui")
    assert assign(host, model, helpers, previous=first)["kept"] is False


def test_a_previous_assignment_of_any_shape_does_no_harm():
    host = facts("nvidia-2x-rtx4090-phb")
    for previous in ({}, {"engine": ["GPU-gone"]}, {"engine": [], "helpers": {}}):
        assert assign(host, 10000, previous=previous)["engine"]


def test_order_of_the_cards_does_not_count():
    host = facts("nvidia-8x-v100-mixed")
    expected = assign(host, 60000, ("whisper", "comfyui"))
    for seed in range(5):
        random.Random(seed).shuffle(host["gpus"])
        random.Random(seed).shuffle(host["links"])
        assert assign(host, 60000, ("whisper", "comfyui")) == expected


def test_a_split_card_takes_what_its_part_holds():
    host = facts("nvidia-h100-mig-2x3g40gb")
    assert assign(host, 30000)["engine"] == [host["gpus"][0]["id"]]
    assert assign(host, 60000)["engine"] == []
