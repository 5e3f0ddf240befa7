"""Nothing that we make can be written by others, whatever the caller's umask."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dream_runner import paths
from dream_runner.cli import app
from dream_runner.module_utils.dream_core.system.umask import tighten_umask


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    old = os.umask(0o022)
    os.umask(old)
    yield
    os.umask(old)


@pytest.mark.parametrize(
    ("before", "after"), [(0, 0o022), (0o002, 0o022), (0o022, 0o022), (0o077, 0o077)]
)
def test_open_ones_are_closed_and_strict_ones_stay(before: int, after: int) -> None:
    os.umask(before)
    tighten_umask()
    assert os.umask(0) == after


def test_the_command_has_one() -> None:
    os.umask(0)
    app.main(["explain", "--help"])
    assert os.umask(0) == 0o022


@pytest.mark.parametrize(
    "module", sorted((paths.content() / "library").glob("*.py")), ids=lambda p: p.stem
)
def test_every_module_has_one_before_it_does_anything(module: Path) -> None:
    assert re.search(r"^def main\(\):\n    tighten_umask\(\)\n", module.read_text(), re.MULTILINE)
