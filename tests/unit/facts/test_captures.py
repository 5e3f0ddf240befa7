"""Every capture gives the facts, the tier and the model that its file expects."""

from __future__ import annotations

import json

import pytest

from dream_runner import catalog
from dream_runner.decide import models, tiers
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.facts.totals import accelerator, ram_mb, usable_gpus
from unit.facts.replay import FOLDER, NAMES, load

CATALOG = catalog.load()


def seen(name):
    """Return what is seen in a capture, in the words of ``expect``."""
    capture = load(name)
    facts = interpret(capture)
    host = accelerator(facts)
    tier = tiers.choose_tier(facts, CATALOG.tiers)
    found = {
        "backend": facts["backend"],
        "repaired_backend": facts["repaired_backend"],
        "memory_class": host["memory_class"],
        "memory_mb": host["memory_mb"],
        "count": host["count"],
        "tier": tier["id"],
        "rule": tier["rule"],
        "findings": sorted({finding["id"] for finding in facts["findings"]}),
        "links": sorted({link["kind"] for link in facts["links"]}),
        "container": facts["os"]["container"],
        "wsl": facts["os"]["wsl"],
        "ram_mb": ram_mb(facts),
        "target": (usable_gpus(facts) or [{"gfx": None}])[0]["gfx"],
        "model": models.choose_model(facts, tier, CATALOG.models)["id"],
    }
    return {key: found[key] for key in capture["expect"]}


@pytest.mark.parametrize("name", NAMES)
def test_capture_gives_what_its_file_expects(name):
    assert seen(name) == load(name)["expect"]


@pytest.mark.parametrize("name", NAMES)
def test_capture_says_where_it_is_from(name):
    about = load(name)["about"]
    assert about["origin"] in ("real", "published", "made")
    assert about["title"]
    assert about["source"]


@pytest.mark.parametrize("name", NAMES)
def test_document_is_plain_data_without_zeros_for_unknown(name):
    facts = interpret(load(name))
    json.dumps(facts)
    for gpu in facts["gpus"]:
        assert gpu["memory_mb"] != 0
        assert gpu["memory_mb"] is None or "memory_mb" in gpu["sources"]
        assert gpu["id"]
        assert gpu["usable"] == (gpu["why_not"] is None)
    assert len({gpu["id"] for gpu in facts["gpus"]}) == len(facts["gpus"])
    assert facts["memory"]["total_mb"] != 0


@pytest.mark.parametrize("name", NAMES)
def test_chosen_model_fits_with_its_cache(name):
    facts = interpret(load(name))
    tier = tiers.choose_tier(facts, CATALOG.tiers)
    choice = models.choose_model(facts, tier, CATALOG.models)
    have = models.budget_mb(facts, CATALOG.models["budgets"])
    model = models.find_model(CATALOG.models, choice["id"])
    assert models.need_mb(model, choice["context_tokens"]) <= have
    assert choice["context_tokens"] <= model["max_context_tokens"]


def test_every_rule_of_the_table_is_covered_by_a_capture():
    covered = {load(name)["expect"]["rule"] for name in NAMES}
    assert covered == {rule["id"] for rule in CATALOG.tiers["rules"]}


def test_captures_tell_nothing_of_whose_machine_it_is():
    from dream_runner.diagnose.scrub_capture import scrub

    for name in NAMES:
        capture = load(name)
        about = {key: capture.pop(key) for key in ("about", "expect")}
        assert about
        assert scrub(capture) == capture, f"{FOLDER / name}.yml"
