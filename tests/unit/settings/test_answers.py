"""The answers file says clearly what is wrong with it; our own file is never an error."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.records import receipt
from dream_runner.settings import answers, merge
from dream_runner.settings.parsers import Known
from dream_runner.settings.table import SETTINGS
from dream_runner.settings.values import Given, Saved, Settings


def chosen(**flags: str) -> Settings:
    given = {name: Given(raw, "--" + name, "flag") for name, raw in flags.items()}
    return merge.merge(given, {}, Saved(), {}, Known())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"tier: [1", "not YAML: line"),
        (b"- tier", "the file contains no settings"),
        (b"just words", "the file contains no settings"),
        (b"\xff\xfe\x00", "not valid UTF-8"),
        (b"x" * (1024 * 1024 + 1), "larger than 1 MB"),
        (b"a: &a [*a]\nb: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_unusable_file_is_one_problem(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.yml"
    path.write_bytes(content)
    given, problems = answers.read_answers(str(path))
    assert given == {}
    assert [what in problem.what for problem in problems] == [True]
    assert problems[0].where == f"--answers {path}"


@pytest.mark.parametrize("name", ["missing.yml", "."])
def test_unreadable_file_is_one_problem(tmp_path: Path, name: str) -> None:
    _, problems = answers.read_answers(str(tmp_path / name))
    assert len(problems) == 1
    assert problems[0].hint


def test_empty_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("# nothing yet\n")
    assert answers.read_answers(str(path)) == ({}, [])


def test_saved_choices_come_back_and_defaults_are_not_saved(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    assert answers.save(state, chosen(tier="2", engine_port="8080")) is None
    saved, warnings = answers.read_saved(state)
    assert warnings == []
    assert saved.values == {"tier": "2", "engine_port": 8080}
    assert stat.S_IMODE(os.stat(answers.path_of_saved(state)).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o700


def test_a_run_without_flags_keeps_the_choices(tmp_path: Path) -> None:
    state = str(tmp_path)
    answers.save(state, chosen(tier="2"))
    saved, _ = answers.read_saved(state)
    again = merge.merge({}, {}, saved, {}, Known())
    answers.save(state, again)
    assert answers.read_saved(state)[0].values == {"tier": "2"}
    assert answers.read_saved(state)[0].sources == {"tier": "flag"}


def test_digest_of_a_former_model_is_forgotten(tmp_path: Path) -> None:
    state = str(tmp_path)
    answers.save(state, chosen(model="https://h/m.gguf", model_sha256="a" * 64))
    saved, _ = answers.read_saved(state)
    given = {"model": Given("smoke", "--model", "flag")}
    answers.save(state, merge.merge(given, {}, saved, {}, Known()))
    assert answers.read_saved(state)[0].values == {"model": "smoke"}


def test_the_same_choices_again_write_nothing(tmp_path: Path) -> None:
    answers.save(str(tmp_path), chosen(tier="2"))
    before = (tmp_path / "settings.json").stat()
    answers.save(str(tmp_path), chosen(tier="2"))
    assert (tmp_path / "settings.json").stat().st_ino == before.st_ino


def test_fields_of_another_version_survive_a_save(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"schema": 1, "values": {"new_thing": 1}, "extra": [2]}))
    answers.save(str(tmp_path), chosen(tier="1"))
    document = json.loads(path.read_text())
    assert document["extra"] == [2]
    assert document["values"] == {"new_thing": 1, "tier": "1"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema": 99, "values": {}}',
        '{"schema": 1}',
        '{"schema": "1", "values": {}}',
        '{"schema": 1, "values": []}',
        "[" * 100000,
    ],
)
def test_rubbish_is_one_warning_and_can_be_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    saved, warnings = answers.read_saved(str(tmp_path))
    assert saved.values == {}
    assert len(warnings) == 1
    assert answers.save(str(tmp_path), chosen(tier="1")) is None
    assert answers.read_saved(str(tmp_path))[0].values == {"tier": "1"}


@pytest.mark.parametrize("content", ["{", None])
def test_what_is_installed_tells_the_choices_of_a_lost_file(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "settings.json").write_text(content)
    everything = {setting.name: setting.default for setting in SETTINGS}
    made = {"profile": "native", "install_dir": "/srv/ai", "engine_port": 8099, "voice": "no"}
    record(tmp_path, {"settings": {**everything, **made, "of another version": 1}})
    saved, warnings = answers.read_saved(str(tmp_path))
    assert saved.values == made
    assert len(warnings) == 1
    assert "restored from the installation: profile, install_dir, engine_port, voice" in warnings[0]


def test_a_choice_that_is_not_recorded_has_to_be_made_again(tmp_path: Path) -> None:
    home = os.path.realpath(os.path.expanduser("~/ai-server"))
    said = {"model": None, "model_sha256": None, "tier": "T1", "install_dir": home}
    record(tmp_path, {"settings": said})
    saved, warnings = answers.read_saved(str(tmp_path))
    assert saved.values == {"tier": "T1"}
    assert "pass --model again" in warnings[0]


def test_an_older_record_tells_the_profile(tmp_path: Path) -> None:
    record(tmp_path, {"profile": "native", "bind_address": "127.0.0.1", "enabled": {"rag": True}})
    assert answers.read_saved(str(tmp_path))[0].values == {"profile": "native"}


@pytest.mark.parametrize("facts", [{}, {"settings": None}, {"settings": ["profile"]}])
def test_a_record_that_tells_no_choices_is_no_failure(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    record(tmp_path, facts)
    assert answers.read_saved(str(tmp_path)) == (Saved(), [])


def record(state: Path, facts: dict[str, Any]) -> None:
    begun = receipt.begin(None, phase="features", resources=[], exists=[], stamp={"version": "1"})
    document = receipt.finish(begun, state="done", facts=facts, inputs={}, finished_at="")
    assert receipt.write(str(state), document) is None


def test_a_link_is_a_miss_and_its_target_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text('{"schema": 1, "values": {"tier": "3"}}')
    (tmp_path / "settings.json").symlink_to(target)
    saved, warnings = answers.read_saved(str(tmp_path))
    assert saved.values == {}
    assert "symbolic link" in warnings[0]
    answers.save(str(tmp_path), chosen(tier="1"))
    assert target.read_text() == '{"schema": 1, "values": {"tier": "3"}}'


def test_no_file_is_no_warning(tmp_path: Path) -> None:
    assert answers.read_saved(str(tmp_path)) == (Saved(), [])


def test_state_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    warning = answers.save(str(tmp_path / "file" / "state"), chosen(tier="1"))
    assert warning is not None
    assert warning.startswith("settings not saved")
