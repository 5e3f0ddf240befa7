"""Every error code has its place in the guide and a test that knows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dream_runner.cli import guide, reporting
from dream_runner.module_utils.dream_core.errors import DreamError, UsageError
from unit.errors.error_codes import ROOT, codes, in_python

PAGE = ROOT / "docs" / "user" / "troubleshooting.md"
#: A row of the page: the anchor that errors point at, and the code.
_ENTRY = re.compile(r"""^\| (?:<a id="([A-Z0-9_]+)"></a>)?`([A-Z0-9_]+)` \|""", re.MULTILINE)
#: Codes that no test names, each with the reason.
_WITHOUT_TEST: dict[str, str] = {}


def listed() -> list[str]:
    return [code for _, code in _ENTRY.findall(PAGE.read_text())]


def test_every_code_has_its_entry_and_every_entry_a_code() -> None:
    names = listed()
    assert set(codes()) - set(names) == set(), "add these to docs/user/troubleshooting.md"
    assert set(names) - set(codes()) == set(), "nothing raises these any more"
    assert len(names) == len(set(names))


def test_every_entry_is_where_its_error_points() -> None:
    lost = [code for anchor, code in _ENTRY.findall(PAGE.read_text()) if anchor != code]
    assert lost == [], 'begin these rows with | <a id="CODE"></a>`CODE` |'


def test_every_printed_error_says_how_to_read_more() -> None:
    for code in codes():
        line = reporting.error_text(DreamError("it went wrong", code=code)).splitlines()[-1]
        assert line.endswith(f" explain {code}'"), line
        found = guide.entry(code)
        assert found["text"]
        assert found["about"]
        assert "](" not in found["text"]


def test_a_code_that_is_misspelled_is_told_what_is_near() -> None:
    assert guide.entry("disk_full")["code"] == "DISK_FULL"
    with pytest.raises(UsageError) as caught:
        guide.entry("DISC_FULL")
    assert "DISK_FULL" in caught.value.hint


def test_every_code_is_named_by_a_test() -> None:
    texts = (
        path.read_text(errors="replace")
        for path in (ROOT / "tests").rglob("*")
        # Captures hold what was seen on machines, not what a test expects.
        if path.suffix in (".py", ".yml") and path.parent.name != "captures"
        if path != Path(__file__)
    )
    named = {word for text in texts for word in re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", text)}
    lost = {code: place for code, place in codes().items() if code not in named}
    assert lost.keys() == _WITHOUT_TEST.keys()


def test_every_form_of_naming_a_code_is_read(tmp_path: Path) -> None:
    path = tmp_path / "judging.py"
    path.write_text(
        "from .finding import can_become, finding\n"
        'UsageError("x", code="AAAA")\n'
        'SourceFault("BBBB", "x")\n'
        'finding("free-memory", "blocker", "x")\n'
        'finding("free-memory", "warning", "x", code="DDDD" if y else "EEEE")\n'
        'finding("quiet", "warning", "x")\n'
        'RULES = (("pattern", NetworkError, "FFFF", "hint"),)\n'
        '{"code": "GGGG"}\n'
        'code = "HHHH"\n'
        'error.code = "CCCC" if z else error.code\n'
        'other = "IIII"\n'
    )
    found = [code for code, _ in in_python(path)]
    assert set(found) == {*(4 * letter for letter in "ABCDEFGH"), "FREE_MEMORY"}
