"""The answers file that ``init`` writes: every setting, read back as it was meant."""

from pathlib import Path

import pytest

from dream_runner.commands import init
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.settings.answers import read_answers
from dream_runner.settings.merge import merge
from dream_runner.settings.parsers import Known
from dream_runner.settings.table import SETTINGS
from dream_runner.settings.values import Saved


def test_as_written_it_says_nothing(tmp_path: Path) -> None:
    path = init.run(str(tmp_path / "answers.yml"), force=False)
    assert read_answers(path) == ({}, [])


def test_uncommented_it_is_every_default(tmp_path: Path) -> None:
    path = tmp_path / "answers.yml"
    init.run(str(path), force=False)
    names = tuple(f"# {setting.name}: " for setting in SETTINGS)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(x[2:] if x.startswith(names) else x for x in lines))
    given, problems = read_answers(str(path))
    assert problems == []
    assert set(given) == {setting.name for setting in SETTINGS}
    read = merge({}, {}, Saved(), given, Known(("T1",), ("smoke",)))
    unsaid = merge({}, {}, Saved(), {}, Known(("T1",), ("smoke",)))
    assert read.values() == unsaid.values()


def test_it_explains_every_setting_and_its_choices(tmp_path: Path) -> None:
    words = " ".join(init.text("a.yml").replace("#", " ").split())
    for setting in SETTINGS:
        assert " ".join(setting.help.split()) in words
    assert "One of: auto, none, nvidia, amd, intel." in words


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "answers.yml"
    path.write_text("tier: T1\n")
    with pytest.raises(UsageError) as caught:
        init.run(str(path), force=False)
    assert caught.value.code == "FILE_EXISTS"
    assert path.read_text() == "tier: T1\n"
    init.run(str(path), force=True)
    assert "profile" in path.read_text()
