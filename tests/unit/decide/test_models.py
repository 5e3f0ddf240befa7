"""The model: computed need, honest budget, the first of the tier's that fits."""

from __future__ import annotations

import pytest

from dream_runner import catalog
from dream_runner.decide import models, tiers
from dream_runner.module_utils.dream_core.errors import RequirementError, UsageError
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from unit.decide.test_tiers import host
from unit.facts.replay import NAMES, load

CATALOG = catalog.load()
MODELS = CATALOG.models


def choose(facts, **options):
    tier = tiers.choose_tier(
        facts, CATALOG.tiers, memory_limit_mb=options.get("memory_limit_mb", 0)
    )
    return models.choose_model(facts, tier, MODELS, **options)


def shape(layers, heads, dim, **more):
    group = {"layers": layers, "kv_heads": heads, "key_dim": dim, "value_dim": dim, **more}
    return {"architecture": {"attention": [group]}, "files": [{"size_bytes": 1}], "size_mb": 1}


@pytest.mark.parametrize(
    ("layers", "heads", "dim", "tokens", "gib"),
    [
        # Llama 3 70B and Qwen2.5 7B with f16, as their serving guides have it.
        (80, 8, 128, 32768, 10.0),
        (28, 4, 128, 32768, 1.75),
        # U-81: Phi-4-mini at 128000 tokens.
        (32, 8, 128, 128000, 15.625),
    ],
)
def test_cache_is_layers_times_heads_times_dims_times_tokens(layers, heads, dim, tokens, gib):
    assert models.cache_bytes(shape(layers, heads, dim), tokens) == gib * 2**30


def test_a_window_bounds_the_cache():
    model = shape(10, 2, 64, window_tokens=1024)
    assert models.cache_bytes(model, 1024) == models.cache_bytes(model, 100000)


def test_recurrent_state_does_not_grow():
    model = shape(1, 1, 1)
    model["architecture"]["recurrent"] = {"layers": 3, "heads": 2, "key_dim": 8, "value_dim": 8}
    grown = models.cache_bytes(model, 2000) - models.cache_bytes(model, 1000)
    assert grown == 1000 * 2 * 2
    assert models.cache_bytes(model, 0) == 3 * 2 * 8 * 8 * 4


def test_exact_sizes_win_over_planning_figures():
    model = {"files": [{"size_bytes": 5 * 2**20}, {"size_bytes": 1}], "size_mb": 99}
    assert models.weights_mb(model) == 6
    model["files"][1]["size_bytes"] = None
    assert models.weights_mb(model) == 99


@pytest.mark.parametrize("size", [4096, 6144, 8188, 12282, 16376, 24564, 49140, 81559])
@pytest.mark.parametrize("tokens", [0, 8192, 65536, 131072])
def test_no_card_gets_a_model_that_does_not_fit(size, tokens):
    facts = host("nvidia", size=size)
    try:
        choice = choose(facts, context_tokens=tokens)
    except RequirementError:
        assert size < 12000, "the smallest model fits every larger card"
        return
    model = models.find_model(MODELS, choice["id"])
    assert models.need_mb(model, choice["context_tokens"]) <= size - 1024
    if tokens:
        assert choice["context_tokens"] == tokens


def test_context_is_capped_to_what_fits_before_the_model_is_given_up():
    choice = choose(host("nvidia", size=6900))
    assert (choice["id"], choice["context_tokens"]) == ("qwen3.5-9b-q4", 8192)
    small = models.fit(models.find_model(MODELS, "phi4-mini-q4"), 4000, 0, 131072)
    assert small == (8192, None)


def test_an_asked_context_is_kept_and_models_below_it_are_passed_over():
    choice = choose(host("nvidia", size=24564), context_tokens=65536)
    assert choice["context_tokens"] == 65536
    assert choice["id"] == "qwen3.5-27b-q4"
    assert "qwen3-30b-a3b-q4 (its maximum context is 40960" in choice["why"]


def test_a_limit_of_the_user_bounds_the_model():
    facts = host(ram=64000)
    assert choose(facts)["id"] == "qwen3.5-9b-q4"
    assert choose(facts, memory_limit_mb=5000)["id"] == "qwen3.5-2b-q4"


def test_nothing_fits_is_an_error_that_says_why():
    with pytest.raises(RequirementError) as caught:
        choose(host(ram=600))
    assert caught.value.code == "NO_MODEL_FITS"
    assert "qwen3.5-2b-q4 (it needs" in caught.value.what


def test_without_a_network_only_what_is_here_is_chosen():
    large = host("nvidia", size=24564)
    best = choose(large)["id"]
    assert choose(large, only={"smollm2-135m-q4", "qwen3.5-4b-q4"})["id"] == "qwen3.5-4b-q4"
    assert best not in ("smollm2-135m-q4", "qwen3.5-4b-q4")
    with pytest.raises(RequirementError) as caught:
        choose(large, only=set())
    assert caught.value.code == "NO_MODEL_FITS"
    assert "--offline" in caught.value.what
    assert "--bundle" in caught.value.hint


def test_a_wanted_model_that_is_too_large_is_refused_with_numbers():
    with pytest.raises(RequirementError) as caught:
        choose(host(ram=16000), wanted="qwen3-coder-next-q4")
    assert caught.value.code == "MODEL_TOO_LARGE"
    assert "it needs 48764 MB" in caught.value.what


def test_a_wanted_model_is_the_users_choice():
    choice = choose(host("nvidia", size=24564), wanted="deepseek-r1-7b-q4")
    assert (choice["id"], choice["why"]) == ("deepseek-r1-7b-q4", "chosen by the user")


def test_a_wanted_model_with_a_known_problem_is_kept_and_the_problem_said():
    unified = host("cpu", ram=131072) | {"arch": "arm64"}
    choice = choose(unified, wanted="qwen3-coder-next-q4")
    assert choice["id"] == "qwen3-coder-next-q4"
    assert choice["why"].startswith("chosen by the user; warning: every token is a question mark")


def test_an_unknown_model_names_the_near_ones():
    with pytest.raises(UsageError) as caught:
        choose(host(), wanted="Qwen3.5-9B")
    assert caught.value.code == "UNKNOWN_MODEL"
    assert "qwen3.5-9b-q4" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        choose(host(), wanted="zzzzzzzz")
    assert "smoke" in caught.value.hint


def test_the_smoke_model_fits_anything():
    choice = choose(host(ram=600), wanted="smoke")
    assert choice["urls"] == ["package:smoke.gguf"]
    assert choice["context_tokens"] == 2048
    assert choice["size_bytes"]


def test_a_model_of_several_files_has_them_all():
    choice = choose(host("nvidia", size=143771), wanted="qwen3.5-122b-a10b-q4")
    assert len(choice["files"]) == 3
    assert choice["file"] == choice["files"][0]["file"]
    assert all(file["sha256"] and file["urls"] for file in choice["files"])


@pytest.mark.parametrize(
    "name", ["nvidia-gb10-128gb", "amd-strix-halo-395-128gb", "apple-m3-128gb"]
)
def test_a_model_known_to_fail_on_a_host_is_avoided(name):
    facts = interpret(load(name))
    tier = tiers.choose_tier(facts, CATALOG.tiers, override="NV_ULTRA")
    choice = models.choose_model(facts, tier, MODELS)
    assert choice["id"] == "qwen3.6-35b-a3b-ud-q4"
    assert "question mark" in choice["why"]


def test_a_unified_gpu_gets_no_more_than_it_can_address():
    facts = interpret(load("amd-strix-halo-395-128gb"))
    wide = models.budget_mb(facts, MODELS["budgets"])
    facts["gpus"][0]["window_mb"] = 20000
    assert models.budget_mb(facts, MODELS["budgets"]) == 20000 - 1024 < wide


def test_explain_says_what_became_of_every_candidate():
    facts = host("nvidia", size=8188)
    tier = tiers.choose_tier(facts, CATALOG.tiers)
    rows = models.explain(facts, tier, MODELS)
    chosen = [row["id"] for row in rows if row["result"] == "chosen"]
    assert chosen == [models.choose_model(facts, tier, MODELS)["id"]]
    assert all(row["why"] for row in rows if row["result"] == "no")


@pytest.mark.parametrize("name", NAMES)
def test_explain_and_choose_agree(name):
    facts = interpret(load(name))
    tier = tiers.choose_tier(facts, CATALOG.tiers)
    rows = models.explain(facts, tier, MODELS)
    chosen = next(row for row in rows if row["result"] == "chosen")
    choice = models.choose_model(facts, tier, MODELS)
    assert (chosen["id"], chosen["context_tokens"]) == (choice["id"], choice["context_tokens"])
