"""Readers of what kernels and tools print: the value, or None; never a guess."""

from __future__ import annotations

import pytest

from dream_runner.module_utils.dream_core.facts import parse
from dream_runner.module_utils.dream_core.facts.devices import gfx_of_core, gfx_of_kfd


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("24564 MiB", 24564),
        ("0 MiB", None),
        ("[N/A]", None),
        ("24.564 MiB", None),
        ("24,564 MiB", None),
        ("24564", None),
        ("24564 MB", None),
        ("-1 MiB", None),
        ("\u0663\u0664 MiB", None),
        ("9" * 30 + " MiB", None),
        (24564, None),
        (None, None),
    ],
)
def test_sizes_of_nvidia_smi(given, value):
    assert parse.mib(given) == value


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("0", 0), ("17", 17), ("0x10de", 4318), (" 5 ", 5), (7, 7), ("-1", None), ("1e3", None),
        (True, None), (-1, None), (1.5, None), (10**30, None), ("0x", None), ("max", None),
        ("", None), (None, None),
    ],
)  # fmt: skip
def test_whole_numbers(given, value):
    assert parse.whole(given) == value


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("00000000:65:00.0", "0000:65:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("0000:C1:00.0", "0000:c1:00.0"),
        ("10000:e1:00.0", "10000:e1:00.0"),
        ("0000:01:00", "0000:01:00.0"),
        ("01:00.0", None),
        ("0000:01:00.9", None),
        ("[N/A]", None),
        (7, None),
    ],
)
def test_pci_addresses(given, value):
    assert parse.slot(given) == value


def test_unprintable_text_is_cleaned_and_bounded():
    assert parse.string("a\x1b[31m\u202eb\n") == "a[31mb"
    assert len(parse.string("x" * 1000)) == 200
    assert parse.string("[N/A]") is None


@pytest.mark.parametrize(
    ("number", "target"),
    [
        (110501, "gfx1151"), (110000, "gfx1100"), (90402, "gfx942"), (90010, "gfx90a"),
        (120001, "gfx1201"), (80003, "gfx803"), (0, None), (None, None), (1100, None),
    ],
)  # fmt: skip
def test_targets_of_kfd(number, target):
    assert gfx_of_kfd(number) == target


@pytest.mark.parametrize(
    ("core", "target"),
    [
        ("11.0.3", "gfx1101"),
        ("10.3.1", "gfx1033"),
        ("9.4.3", "gfx942"),
        ("13.0.0", None),
        (None, None),
    ],
)
def test_targets_of_graphics_cores(core, target):
    assert gfx_of_core(core) == target
