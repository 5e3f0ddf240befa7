"""An expression in any setting, from any place, is refused or arrives as it was written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dream_runner.run import extra_vars
from dream_runner.settings import answers
from dream_runner.settings.merge import from_environment, merge
from dream_runner.settings.parsers import Known
from dream_runner.settings.problems import SettingsError
from dream_runner.settings.table import BY_NAME, SETTINGS
from dream_runner.settings.values import Given, Saved, Settings, as_ansible_vars
from tests.fixtures import hostile

#: Legal wherever an address is, since nothing in it is blank.
ADDRESS = "https://host/{{lookup('pipe','touch$IFS$HOSTILE_MARK')}}.gguf"
TEXTS = [*hostile.TEXTS.values(), ADDRESS, f"/srv/{hostile.LOOKUP}", "/srv/{{ 191 * 7 }}/{#x"]
#: Keys of Ansible's own marks: neither a value nor a key of ours may be taken for one.
MARK = "__ansible_unsafe"


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in (*value.keys(), *value.values()) for text in strings(item)]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else []


def normal(text: str) -> str:
    """Return what a word and a path have in common with how they were typed."""
    return re.sub("/+", "/", unquote(text).strip().lower())


def is_marked(value: Any) -> bool:
    """Tell whether every string of a decoded extra-vars file is marked as data."""
    if isinstance(value, dict):
        if set(value) == {MARK}:
            return isinstance(value[MARK], str)
        return all(is_marked(item) for item in value.values())
    if isinstance(value, list):
        return all(is_marked(item) for item in value)
    return not isinstance(value, str)


def merged(name: str, text: str, source: str, folder: Path) -> Settings:
    given = {name: Given(text, name, "flag")}
    variable = BY_NAME[name].variable
    if source == "flag":
        return merge(given, {}, Saved(), {}, Known())
    if source == "environment":
        return merge({}, from_environment({variable: text}), Saved(), {}, Known())
    if source == "saved":
        return merge({}, {}, Saved({name: text}, {name: "flag"}), {}, Known())
    path = folder / "answers.yml"
    path.write_text(json.dumps({name: text}))
    told, problems = answers.read_answers(str(path))
    assert problems == []
    return merge({}, {}, Saved(), told, Known())


def attempt(name: str, text: str, source: str, folder: Path) -> tuple[Settings | None, list[str]]:
    """Return the settings, or where each problem is."""
    try:
        return merged(name, text, source, folder), []
    except SettingsError as error:
        return None, [problem.where for problem in error.problems] or ["nowhere"]


@pytest.mark.parametrize("source", ["flag", "environment", "answers", "saved"])
@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_each_setting_is_refused_or_literal(name: str, source: str, tmp_path: Path) -> None:
    default = as_ansible_vars(merge({}, {}, Saved(), {}, Known()))[f"dream_{name}"]
    for text in TEXTS:
        settings, problems = attempt(name, text, source, tmp_path)
        words = name.split("_")
        assert all(any(word in where.lower() for word in words) for where in problems)
        if settings is None:
            continue
        value = as_ansible_vars(settings)[f"dream_{name}"]
        # A saved value that no longer holds gives way to the default.
        parts = [normal(part) for part in strings(value) if part]
        literal = any(part in normal(text) or normal(text) in part for part in parts)
        assert value == default or literal, (text, value)
        assert is_marked(json.loads(extra_vars.document(as_ansible_vars(settings))))


def test_the_check_can_fail() -> None:
    assert not is_marked({"a": "{{ x }}"})
    assert not is_marked({"a": [{MARK: "x"}, "y"]})
    assert is_marked({"a": [{MARK: "{{ x }}"}], "b": 1, "c": None})


def test_an_address_keeps_its_braces() -> None:
    given = {
        "model": Given(ADDRESS, "--model", "flag"),
        "model_sha256": Given("0" * 64, "--sha256", "flag"),
    }
    settings = merge(given, {}, Saved(), {}, Known())
    document = json.loads(extra_vars.document(as_ansible_vars(settings)))
    assert document["dream_model"] == {MARK: ADDRESS}


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_is_marked_however_deep_it_stands(text: str) -> None:
    document = json.loads(extra_vars.document({"a": {"b": [text]}}))
    assert document == {"a": {"b": [{MARK: text}]}}
