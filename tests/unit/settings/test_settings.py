"""Settings from everywhere: precedence, forms, and everything wrong at once in the words typed."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner import paths
from dream_runner.settings import answers, merge, table, values
from dream_runner.settings.parsers import Invalid, Known
from dream_runner.settings.problems import Problem, SettingsError
from dream_runner.settings.values import Given, Saved

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "settings_cases.yml").read_text()
)
KNOWN = Known(
    tiers=("0", "1", "2", "3", "4", "NV_ULTRA"),
    models=("smoke", "qwen3-4b"),
    ports=("open-webui", "QDRANT_PORT"),
    exposable=("searxng", "QDRANT_PORT"),
)


def merged(case: dict[str, Any], tmp_path: Path) -> values.Settings:
    """Merge a case the way the command line does."""
    flags = {
        name: Given(raw, table.BY_NAME[name].flag, "flag")
        for name, raw in case.get("flags", {}).items()
    }
    told: dict[str, Given] = {}
    problems: list[Problem] = []
    if "answers" in case:
        path = tmp_path / "a.yml"
        path.write_text(yaml.safe_dump(case["answers"]))
        told, problems = answers.read_answers(str(path))
    saved = Saved(case.get("saved", {}), case.get("sources", {}))
    environment = merge.from_environment(case.get("environment", {}))
    return merge.merge(flags, environment, saved, told, KNOWN, problems)


@pytest.mark.parametrize(
    "case", [c for c in CASES if "problems" not in c], ids=lambda case: str(case["name"])
)
def test_value_and_origin(case: dict[str, Any], tmp_path: Path) -> None:
    result = merged(case, tmp_path)
    chosen = result.chosen[case["setting"]]
    assert (chosen.value, chosen.origin) == (case["value"], case["origin"])
    notes = [note.replace(f"{tmp_path}/", "") for note in result.notes]
    assert len(notes) == (1 if "note" in case else 0)
    assert all(case["note"] in note for note in notes)


@pytest.mark.parametrize(
    "case", [c for c in CASES if "problems" in c], ids=lambda case: str(case["name"])
)
def test_every_problem_is_told_in_the_words_typed(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        merged(case, tmp_path)
    told = {
        problem.where.replace(f"{tmp_path}/", ""): f"{problem.what}; {problem.hint}"
        for problem in caught.value.problems
    }
    expected = case["problems"] | case.get("also", {})
    assert set(told) == set(expected)
    for where, part in expected.items():
        assert part in told[where]
    assert caught.value.exit_code == 2
    assert caught.value.to_dict()["problems"]


def test_the_playbooks_have_the_same_defaults() -> None:
    path = paths.content() / "playbooks" / "group_vars" / "all" / "settings.yml"
    assert yaml.safe_load(path.read_text()) == table.defaults()


def test_the_context_play_passes_every_setting_on() -> None:
    path = paths.content() / "playbooks" / "group_vars" / "all" / "context.yml"
    passed = yaml.safe_load(path.read_text())["dream_settings"]
    assert passed == {setting.name: f"{{{{ dream_{setting.name} }}}}" for setting in table.SETTINGS}


def test_the_architecture_page_lists_the_same_settings() -> None:
    page = (paths.PACKAGE.parent / "docs" / "developer" / "contracts.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9_ ]+) \|", page.split("## Settings")[1], re.MULTILINE)
    listed = {name for row in rows[1:] for name in row.split()}
    assert {setting.name for setting in table.SETTINGS} <= listed


def test_defaults_are_valid_and_absolute() -> None:
    result = merge.merge({}, {}, Saved(), {}, KNOWN)
    assert os.path.isabs(result["install_dir"])
    assert result.said() == {}
    assert values.as_ansible_vars(result)["dream_engine_port"] == 0


def test_install_dir_resolves_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    result = merged({"flags": {"install_dir": str(tmp_path / "link" / "x")}}, tmp_path)
    assert result["install_dir"] == str((tmp_path / "real").resolve() / "x")


def test_install_dir_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="a setting is invalid") as caught:
        merged({"flags": {"install_dir": str(tmp_path / "file" / "x")}}, tmp_path)
    assert "is a file" in caught.value.problems[0].what


def test_misspelled_variables_are_pointed_at() -> None:
    lines = merge.near_misses({"DREAM_ENGINE_PROT": "1", "DREAM_RUN_ID": "x", "PATH": ""})
    assert lines == ["DREAM_ENGINE_PROT is not a setting; did you mean DREAM_ENGINE_PORT?"]


@pytest.mark.parametrize("name", ["ho me ü 100%s {{ x }}", "it's $5", 'a:b "c"'])
def test_a_saved_directory_is_the_one_that_was_typed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a home is called is nobody's choice; written out, it must not be refused later."""
    monkeypatch.setenv("HOME", str(tmp_path / name))
    parse = table.BY_NAME["install_dir"].parse
    typed = parse("~/x/../Meine KI ü/", KNOWN)
    assert typed == str(tmp_path / name / "Meine KI ü")
    assert parse(typed, KNOWN) == typed
    for bad in ("~/a%b", str(tmp_path / name / "a:b"), str(tmp_path / f"{name}2")):
        with pytest.raises(Invalid, match="do not allow"):
            parse(bad, KNOWN)


def test_a_service_that_left_the_catalogue_takes_no_other_choice_along() -> None:
    """An earlier version saved a port for Perplexica and one for the chat."""
    ports = ["perplexica=3005", "open-webui=8080"]
    found = merge.merge({}, {}, Saved({"ports": ports}), {}, KNOWN)
    assert found["ports"] == ["open-webui=8080"]
    (note,) = found.notes
    assert "'perplexica' publishes no port; kept: open-webui=8080" in note
    found = merge.merge({}, {}, Saved({"ports": ports[:1]}), {}, KNOWN)
    assert found["ports"] == []
