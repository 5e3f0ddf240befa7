"""The table of known defects is whole, and the tests it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "developer" / "defects.md"
#: All 134 rows of the failure catalogue and of upstream's register.
WANTED = {
    *(f"D{number}" for number in range(1, 14)),
    *(f"K{number}" for number in range(1, 10)),
    *(f"H{number}" for number in range(1, 13)),
    *(f"S{number}" for number in range(1, 11)),
    *(f"C{number}" for number in range(1, 10)),
    *(f"U-{number:02d}" for number in range(1, 82)),
}
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| row", "|---"))
]


def names(text: str) -> set[str]:
    return set(re.findall(r"\b(?:U-\d+|[DKHSC]\d+)\b", text))


def test_every_row_of_the_ranges_is_there_once() -> None:
    assert len(WANTED) == 134
    listed = [name for row in ROWS for name in sorted(names(row[0]))]
    # Until there is something to be tested, the page says so.
    pending = {name for line in PAGE.read_text().splitlines() if line.startswith("Open:")
               for name in names(line)}  # fmt: skip
    assert set(listed) | pending >= WANTED
    assert len(listed) == len(set(listed))
    assert not pending & set(listed)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_has_a_test_that_exists_or_says_why_not(row: list[str]) -> None:
    assert len(row) == 3, row
    cited = re.findall(r"`([\w/-]+)::(\w+)`", row[2])
    assert cited or row[2].startswith("n/a: "), row[0]
    for file, test in cited:
        places = [TESTS / "unit" / f"{file}.py", TESTS / f"{file}.py"]
        text = next((path.read_text() for path in places if path.is_file()), None)
        assert text is not None, f"{row[0]}: there is no {file}"
        assert re.search(rf"^ *(?:async )?def {test}\(", text, re.MULTILINE), f"{file}::{test}"
