"""YAML of somebody else is counted before it is built, and refused with a line and a reason."""

from pathlib import Path

import pytest

from dream_runner import catalog, yaml_file
from dream_runner.commands import facts
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.files.text_file import Unreadable
from dream_runner.settings import answers

BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
BAD = {
    BOMB: "its aliases expand to too many values",
    MERGES: "its aliases expand to too many values",
    "a: &a [*a]": "an alias contains itself",
    "[" * 100_000: "it is nested too deeply",
    "a: " + "{b: " * 900: "it is nested too deeply",
    "a:\n\tb: 1\n": "line 2: it has a tab where YAML allows only spaces",
    "tier: T1\nname: *none\n": "found undefined alias",
    "born: 2026-13-45": "it contains an invalid date or number",
    "n: " + "9" * 5000: "it contains an invalid date or number",
    "a: !!timestamp x": "it contains an invalid date or number",
    "a: !!bool x": "it contains an invalid date or number",
    "!!int '': 1": "it contains an invalid date or number",
    "a: !!python/object/apply:os.system [x]": "could not determine a constructor",
    "a: !unsafe '{{ 1 }}'": "could not determine a constructor",
    "a: \x07": "control characters are not allowed",
    "{[a]: 1}": "found unhashable key",
    "a: 1\n<<: 3": "expected a mapping",
    "p: 's3cret value": "found unexpected end of stream",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("text", "reason"), BAD.items(), ids=[str(n) for n in range(len(BAD))])
def test_what_cannot_be_is_told_by_line_and_reason(text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        yaml_file.parse(text)
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 300
    assert "s3cret" not in caught.value.reason


def test_aliases_of_a_sane_size_are_read() -> None:
    assert yaml_file.parse("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n") == {
        "a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2},
    }  # fmt: skip


@pytest.mark.parametrize("text", [BOMB, "[" * 100_000, "a:\n\tb: 1\n", "n: " + "9" * 5000])
def test_every_reader_of_yaml_is_bounded(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yml"
    path.write_text(text)
    given, problems = answers.read_answers(str(path))
    assert (given, len(problems)) == ({}, 1)
    with pytest.raises(UsageError) as caught:
        facts.read_capture(str(path))
    assert caught.value.code == "CAPTURE_INVALID"
    with pytest.raises(UsageError) as caught:
        catalog.load(tmp_path)
    assert caught.value.code == "CATALOG_INVALID"
