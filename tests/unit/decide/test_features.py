"""Which features run, for hosts and answers of every kind."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from dream_runner import paths
from dream_runner.decide.features import FEATURES, resolve
from dream_runner.module_utils.dream_core.errors import UsageError

CATALOG = yaml.safe_load((paths.catalog() / "features.yml").read_text())
HOST = {"arch": "amd64", "page_size_bytes": 4096, "backend": "nvidia"}
TIER = {"id": "3"}


def settle(facts: dict | None = None, tier: str = "3", **settings: object) -> dict:
    return resolve(
        {"profile": "full", **settings}, {**HOST, **(facts or {})}, {"id": tier}, CATALOG
    )


def test_the_catalogue_fits_its_schema_and_names_every_feature() -> None:
    schema = json.loads((paths.catalog() / "features.schema.json").read_text())
    jsonschema.validate(CATALOG, schema)
    assert set(CATALOG["features"]) == set(FEATURES)


def test_every_service_is_known() -> None:
    catalog = paths.catalog() / "services.yml"
    if not catalog.is_file():
        pytest.skip("the service catalogue is not there yet")
    known = {item["id"] for item in yaml.safe_load(catalog.read_text())["services"]}
    for feature in CATALOG["features"].values():
        assert {service["id"] for service in feature["services"]} <= known


def test_auto_is_all_that_host_and_tier_allow() -> None:
    enabled = settle()["enabled"]
    assert enabled == dict.fromkeys(FEATURES, True) | {
        "observability": False,
        "images": False,
    }


@pytest.mark.parametrize(
    ("facts", "tier", "name", "expected", "why"),
    [
        ({}, "4", "images", False, "not offered"),
        ({"arch": "arm64", "page_size_bytes": 65536}, "3", "rag", False, "65536"),
        ({"arch": "arm64"}, "3", "rag", True, "supported"),
        ({"arch": None}, "3", "voice", True, "supported"),
        ({"page_size_bytes": None, "arch": "arm64"}, "3", "rag", True, "supported"),
    ],
)
def test_what_auto_means_on_this_host(
    facts: dict, tier: str, name: str, expected: bool, why: str
) -> None:
    found = settle(facts, tier)
    assert found["enabled"][name] is expected
    assert why in found["reasons"][name]


def test_embeddings_stay_off_on_arm64_while_their_feature_runs() -> None:
    services = settle({"arch": "arm64"})["services"]
    assert "qdrant" in services
    assert "embeddings" not in services


def test_a_yes_pulls_what_it_needs() -> None:
    found = settle(agents="yes", offline=True)
    assert found["enabled"]["search"]
    assert found["reasons"]["search"] == "needed by agents"


def test_an_auto_feature_does_not_override_a_no() -> None:
    found = settle(search="no")
    assert not found["enabled"]["agents"]
    assert "search" in found["reasons"]["agents"]


def test_offline_advice_is_followed_down_the_chain() -> None:
    found = settle(offline=True)
    assert not found["enabled"]["search"]
    assert not found["enabled"]["agents"]


LIMITED = {
    "features": {
        "a": {
            "auto": True,
            "services": [{"id": "a"}],
            "needs_backend": ["nvidia"],
            "auto_off_tiers": ["1"],
        }
    }
}


def test_a_yes_beats_advice_and_no_rule_of_the_host() -> None:
    yes = {"profile": "full", "a": "yes"}
    assert "tier 1" in resolve({"profile": "full"}, HOST, {"id": "1"}, LIMITED)["reasons"]["a"]
    assert resolve(yes, HOST, {"id": "1"}, LIMITED)["enabled"]["a"]
    with pytest.raises(UsageError, match="a: it needs the backend nvidia"):
        resolve(yes, {**HOST, "backend": "cpu"}, TIER, LIMITED)


def agents_at(context_tokens: int, **settings: object) -> dict:
    full = {"profile": "full", **settings}
    return resolve(full, HOST, TIER, CATALOG, context_tokens=context_tokens)


def test_the_agent_is_offered_from_64k_of_context_on() -> None:
    """With less, it refuses every question (wiring 13)."""
    assert agents_at(65536)["enabled"]["agents"]
    found = agents_at(65535)
    assert not found["enabled"]["agents"]
    assert "65536" in found["reasons"]["agents"]
    assert "--context-tokens" in found["reasons"]["agents"]
    with pytest.raises(UsageError, match="agents: it needs a context of 65536"):
        agents_at(32768, agents="yes")


def test_every_conflict_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        settle(images="yes", agents="yes", search="no")
    assert caught.value.code == "FEATURE_CONFLICT"
    assert "images: it is not offered" in str(caught.value)
    assert "agents needs search, which is set to no" in str(caught.value)


def test_yaml_booleans_are_words_too() -> None:
    assert not settle(voice=False)["enabled"]["voice"]
    assert settle(observability=True)["enabled"]["observability"]


def test_native_has_none_and_refuses_a_yes() -> None:
    found = settle(profile="native")
    assert not any(found["enabled"].values())
    assert found["services"] == []
    with pytest.raises(UsageError, match="voice: the native profile"):
        settle(profile="native", voice="yes")


EXCLUSIVE = {
    "features": {
        "a": {"auto": True, "services": [{"id": "a"}], "conflicts": ["b"]},
        "b": {"auto": True, "services": [{"id": "b"}]},
    }
}


def test_of_two_that_exclude_each_other_auto_keeps_the_first() -> None:
    found = resolve({"profile": "full"}, HOST, TIER, EXCLUSIVE)
    assert found["enabled"] == {"a": True, "b": False}
    found = resolve({"profile": "full", "b": "yes"}, HOST, TIER, EXCLUSIVE)
    assert found["enabled"] == {"a": False, "b": True}
    with pytest.raises(UsageError, match="a and b cannot be combined"):
        resolve({"profile": "full", "a": "yes", "b": "yes"}, HOST, TIER, EXCLUSIVE)


def test_the_same_question_has_the_same_answer() -> None:
    assert settle(voice="yes") == settle(voice="yes")
