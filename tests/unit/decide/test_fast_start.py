"""Whether a small model answers first: every rule by a case, and what follows from the answer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner import catalog, paths
from dream_runner.commands.facts import read_capture
from dream_runner.decide import fast_start, plan_rows, role_inputs
from dream_runner.decide.decision import decide
from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.checks import needed_size
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.records import inputs
from dream_runner.settings.table import defaults

CASES = yaml.safe_load((Path(__file__).parent / "fast_start_cases.yml").read_text())
SESSION = {"is_root": True, "user_manager": False}
QWEN3_30B = next(m for m in catalog.load().models["models"] if m["id"] == "qwen3-30b-a3b-q4")


def facts_of(capture: str = "nvidia-a100-40gb") -> dict[str, Any]:
    folder = paths.PACKAGE.parent / "tests" / "fixtures" / "captures"
    return copy.deepcopy(interpret(read_capture(str(folder / f"{capture}.yml"))))


def settings_of(**chosen: Any) -> dict[str, Any]:
    settings = {name.removeprefix("dream_"): value for name, value in defaults().items()}
    return settings | {"install_dir": "/srv/ai"} | chosen


def decided(case: dict[str, Any]) -> dict[str, Any]:
    facts = facts_of()
    facts["init"]["system"] = case.get("init", "systemd")
    receipts = dict(case.get("receipts", {}))
    if case.get("pending"):
        upgrade = {"sha256": QWEN3_30B["files"][0]["sha256"]}
        state = "done" if case["pending"] is True else case["pending"]
        receipts["models"] = {"state": state, "facts": {"upgrade": upgrade}}
    return decide(
        settings_of(**case.get("settings", {})),
        facts,
        SESSION,
        catalog.load(),
        receipts,
        held=case.get("held", {}),
        in_fleet=case.get("fleet", False),
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_rule(case: dict[str, Any]) -> None:
    choice = decided(case)
    start = choice["fast_start"]
    assert start["use"] == (case["small"] is not None), start["why"]
    assert case.get("why", "") in start["why"]
    if case["small"]:
        assert choice["model"]["id"] == case["small"]
        assert choice["upgrade"]["model"]["id"] not in (case["small"], "")
    else:
        assert choice["upgrade"] is None
    # Applied twice it asks for the same.
    assert decided(case) == choice


def test_what_follows_is_what_is_decided_once_the_model_is_here() -> None:
    """The unit writes receipts by ``after``: it must be what the next install finds."""
    pending = decided({})
    final = pending["upgrade"]["model"]
    held = {item["file"]: item["size_bytes"] or 1 for item in final["files"]}
    later = decided({"held": held})
    assert later["upgrade"] is None
    expected = fast_start.after(pending)
    assert inputs.values({}, later, {}, {}) == inputs.values({}, expected, {}, {})
    roles = [
        role_inputs.wanted(settings_of(), which, facts_of(), SESSION) for which in (later, expected)
    ]
    assert roles[0] == roles[1]


def test_the_words_of_the_decision_are_no_input() -> None:
    """Else the first run after the model has come would find every phase changed."""
    choice = decided({"settings": {"fast_start": "no"}})
    other = dict(choice, fast_start={"use": False, "why": "its model is already downloaded"})
    before, after = (inputs.values({}, item, {}, {}) for item in (choice, other))
    assert before == after


def test_both_models_run_on_the_same_cards() -> None:
    assert (
        decided({})["gpu_assignment"]
        == decided({"settings": {"fast_start": "no"}})["gpu_assignment"]
    )


def test_both_models_need_their_room() -> None:
    choice = decided({})
    needs = needed_size.needs(settings_of(), choice, "/state")["disk"]
    sizes = {item["what"]: item["mb"] for item in needs}
    assert sizes["the upgrade"] > sizes["the model"] > 0


def test_the_unit_is_told_of() -> None:
    assert {"name": layout.UPGRADE_UNIT, "scope": "system"} in plan_rows.units(decided({}))


def test_a_catalogue_without_a_small_model_has_no_fast_start() -> None:
    loaded = catalog.load()
    models = {key: value for key, value in loaded.models.items() if key != "fast_start"}
    site = catalog.Catalog(**{**vars(loaded), "models": models})
    choice = decide(settings_of(fast_start="yes"), facts_of(), SESSION, site, {}, held={})
    assert choice["fast_start"] == {"use": False, "why": "the catalogue has no small model"}


def test_the_role_and_the_code_name_the_same_unit() -> None:
    text = (paths.content() / "roles" / "models" / "vars" / "main.yml").read_text()
    known = yaml.safe_load(text)
    assert known["__models_unit"] == layout.UPGRADE_UNIT
    assert known["__models_folder"].endswith("/" + layout.UPGRADE_FOLDER)


def test_the_models_depend_on_nothing_that_comes_after_them() -> None:
    """Else what the services found would make the models due again, run after run."""
    wanted = role_inputs.wanted(settings_of(), decided({}), facts_of(), SESSION)
    assert wanted["models"]["consumes"] == ["docker"]
