"""The harness itself: what it would find, and that what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import cases, sandbox, trace

ROOT = Path(__file__).resolve().parents[2]

GOOD = """\
10 write(3</s/.dream-tmp-a>, ""..., 12) = 12
10 fsync(3</s/.dream-tmp-a> <unfinished ...>
11 write(4</other>, ""..., 1) = 1
10 <... fsync resumed>) = 0
10 rename("/s/.dream-tmp-a", "/s/a") = 0
10 fsync(5</s>) = 0
"""


def unsafe(text: str) -> list[str]:
    return trace.unsafe(list(trace.parse(text.splitlines())), {"/s/a"}.__contains__)


def test_the_right_order_is_safe() -> None:
    assert unsafe(GOOD) == []


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("fsync(3", "renamed before its content was synced"),
        ("fsync(5", "its directory was not synced"),
        ("write(3", "nothing was written"),
    ],
)
def test_a_step_left_out_is_found(without: str, said: str) -> None:
    kept = [line for line in GOOD.splitlines() if without not in line]
    kept = [line for line in kept if "resumed" not in line or without != "fsync(3"]
    assert len(found := unsafe("\n".join(kept))) == 1
    assert said in found[0]


def test_a_write_after_the_sync_is_found() -> None:
    late = GOOD.replace("10 rename", '10 write(3</s/.dream-tmp-a>, ""..., 1) = 1\n10 rename')
    assert "renamed before" in unsafe(late)[0]


def test_a_failed_sync_is_none() -> None:
    failed = GOOD.replace("resumed>) = 0", "resumed>) = -1 EIO (Input/output error)")
    assert "renamed before" in unsafe(failed)[0]


def test_what_was_written_and_not_renamed() -> None:
    calls = list(trace.parse(GOOD.splitlines()))
    assert trace.written_in_place(calls, Path("/s")) == set()
    plain = [*calls[:2], *calls[4:]]
    assert trace.written_in_place(plain, Path("/s")) == {"/s/.dream-tmp-a"}


def test_differences_name_each_leaf() -> None:
    one = {"a": {"x": 1, "y": 2}, "b": ("file", "0o600", "abc")}
    two = {"a": {"x": 1, "y": 3}, "b": ("file", "0o644", "abc")}
    assert [line.split(":")[0] for line in sandbox.differences(one, two)] == ["/a/y", "/b[1]"]


@pytest.mark.parametrize(
    ("name", "is_leftover"),
    [
        ("dream/.dream-tmp-x", True),
        ("dream/engine/.pip-tmp", True),
        ("dream/data/models/m.gguf.part", True),
        ("tmp/tmpab12_xyz", True),
        ("dream/engine/venv/lib/pip/__init__.py", False),
        ("dream/data/models/m.gguf", False),
    ],
)
def test_leftovers_are_told(name: str, is_leftover: bool) -> None:
    assert bool(sandbox.LEFTOVER.search(name)) is is_leftover


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    grid = list(range(20))
    assert cases.chosen(grid, 4) == cases.chosen(grid, 4)
    assert cases.FULL or len(cases.chosen(grid, 4)) == 4


def test_every_case_of_the_matrix_exists() -> None:
    """The table of the interruption matrix names tests; each of them is there."""
    page = (ROOT / "docs" / "developer" / "chaos.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", page)
    assert len(named) > 15
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"


def test_the_command_lists_its_cases() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--list", "test_kill.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "test_killed_at_a_random_instant[0]" in done.stdout
