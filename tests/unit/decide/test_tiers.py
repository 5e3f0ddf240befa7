"""The tier table: boundaries, names, overrides, and what would change the tier."""

from __future__ import annotations

import pytest

from dream_runner import catalog
from dream_runner.decide import tiers
from dream_runner.module_utils.dream_core.errors import GpuError, UsageError
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from unit.facts.replay import load

TABLE = catalog.load().tiers


def host(backend="cpu", kind="discrete", size=None, count=1, ram=64000):
    """Return a facts document of a host with ``count`` GPUs of ``size`` MiB each."""
    gpus = [
        {
            "id": f"{backend}-{number}",
            "vendor": backend,
            "name": "a card",
            "memory_class": kind,
            "memory_mb": size if kind == "discrete" else None,
            "carve_out_mb": None,
            "usable": True,
            "why_not": None,
            "mig": None,
        }
        for number in range(0 if backend == "cpu" else count)
    ]
    return {"backend": backend, "gpus": gpus, "memory": {"usable_mb": ram}, "arch": "amd64"}


def tier(facts, **options):
    return tiers.choose_tier(facts, TABLE, **options)["id"]


BOUNDS = [rule for rule in TABLE["rules"] if "memory_mb" in rule or "ram_mb" in rule]


@pytest.mark.parametrize("rule", BOUNDS, ids=lambda rule: rule["id"])
def test_a_boundary_has_two_percent_tolerance_and_no_more(rule):
    bound = rule.get("memory_mb") or rule["ram_mb"]
    for size, holds in (
        (bound, True),
        (-(-bound * 98 // 100), True),
        (bound * 98 // 100 - 1, False),
    ):
        if rule["backend"] == "cpu":
            facts = host(ram=size)
        elif rule["memory_class"] == "unified":
            facts = host(rule["backend"], "unified", ram=size)
        else:
            facts = host(rule["backend"], size=size)
        assert (tiers.choose_tier(facts, TABLE)["rule"] == rule["id"]) is holds, size


@pytest.mark.parametrize(("count", "expected"), [(1, "2"), (2, "3"), (4, "4"), (8, "NV_ULTRA")])
def test_memory_of_several_gpus_is_summed_once(count, expected):
    assert tier(host("nvidia", size=12288, count=count)) == expected


@pytest.mark.parametrize(
    ("ram", "limit", "expected"),
    [(130000, 0, "3"), (130000, 64000, "2"), (130000, 16000, "1"), (8000, 64000, "0")],
)
def test_a_limit_of_the_user_counts_less_ram_and_never_more(ram, limit, expected):
    assert tier(host(ram=ram), memory_limit_mb=limit) == expected


def test_unknown_memory_reaches_no_boundary():
    assert tier(host(ram=None)) == "0"
    assert tier(host("amd", "unified", ram=None)) == "1"


@pytest.mark.parametrize(("word", "expected"), [("T2", "2"), ("t4", "4"), ("nv_ultra", "NV_ULTRA")])
def test_tier_ids_are_read_as_people_write_them(word, expected):
    assert tier(host(), override=word) == expected


def test_an_override_is_recorded_as_one():
    choice = tiers.choose_tier(host(ram=16000), TABLE, override="4")
    assert choice["overridden"] is True
    assert choice["rule"] == "override"
    assert choice["name"] == "Enterprise"
    assert "the table gives 1" in choice["reason"]


def test_an_unknown_tier_lists_the_valid_ones():
    with pytest.raises(UsageError) as caught:
        tier(host(), override="9")
    assert caught.value.code == "UNKNOWN_TIER"
    for known in TABLE["tiers"]:
        assert known["id"] in caught.value.what


def test_next_says_what_the_better_tier_needs():
    following = tiers.choose_tier(host("nvidia", size=24564), TABLE)["next"]
    assert following["id"] == "4"
    assert following["needs"] == "40960 MB of GPU memory (this host: 24564 MB)"
    assert tiers.choose_tier(host("nvidia", size=97887), TABLE)["next"] is None


def test_explain_names_every_rule_and_the_one_that_fired():
    rows = tiers.explain(host("nvidia", size=24564), TABLE)
    assert [row["rule"] for row in rows] == [rule["id"] for rule in TABLE["rules"]]
    assert [row["rule"] for row in rows if row["result"] == "fired"] == ["nvidia_pro"]
    assert [r["rule"] for r in rows if r["result"] == "holds"] == [
        "nvidia_prosumer",
        "nvidia_entry",
    ]
    assert all(row["why"] for row in rows)


def test_a_backend_the_host_cannot_offer_is_refused_by_name():
    facts = dict(interpret(load("amd-rx580-unsupported")), backend="amd", backend_overridden=True)
    with pytest.raises(GpuError) as caught:
        tier(facts)
    assert caught.value.code == "GPU_NOT_USABLE"
    assert "Ellesmere" in caught.value.what


def test_a_small_card_is_used_when_the_user_insists():
    facts = interpret(load("nvidia-gt1030-2gb"))
    assert tier(facts) == "1"
    forced = dict(facts, backend="nvidia", backend_overridden=True)
    assert tiers.choose_tier(forced, TABLE)["rule"] == "nvidia_entry"


def test_cpu_on_a_gpu_host_goes_by_ram():
    facts = dict(interpret(load("nvidia-h100-80gb")), backend="cpu", backend_overridden=True)
    assert tiers.choose_tier(facts, TABLE)["rule"] == "cpu_large"
