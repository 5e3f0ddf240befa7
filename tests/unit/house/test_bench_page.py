"""The page that tests/bench/run.py makes of what it measured."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from dream_runner import paths
from dream_runner.run import events

BENCH = paths.PACKAGE.parent / "tests" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules as ``python tests/bench/run.py`` finds them, and gone afterwards."""
    names = ("run", "facts", "first_install", "first_paint", "against", "rerun", "rerun.bench")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(BENCH))
    import run

    yield run
    for name in names:
        sys.modules.pop(name, None)


def test_ratios_are_to_the_first_row_of_a_group(bench: Any) -> None:
    tables = {
        "One & all": {"floor": bench.Cost(2.0, 1.0, 50), "dream-runner install": bench.Cost(0.5)},
        "Two": {"alone": bench.Cost(0.0)},
    }
    lines = bench.markdown(tables, dict.fromkeys(tables, "Today.")).splitlines()
    assert "Today." in lines
    assert "| **One & all** | | | | |" in lines
    assert "| floor | 2.00 | 1.00 | 1.00 | 50 |" in lines
    assert "| dream-runner install | 0.50 | 0.25 |  |  |" in lines
    assert "| alone | 0.00 |  |  |  |" in lines
    plot = ElementTree.fromstring(bench.svg(tables))
    bars = [item for item in plot.iter() if item.tag.endswith("rect")]
    assert [item.get("class") for item in bars] == ["b", "o", "b"]
    widths = [float(item.get("width", "0")) for item in bars]
    assert widths[0] == pytest.approx(4 * widths[1], abs=0.1)
    assert "One & all, seconds" in [item.text for item in plot.iter()]


def test_a_group_that_was_not_run_stays_with_its_own_date(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    old = {"One": {"floor": bench.Cost(2.0)}, "Two": {"floor": bench.Cost(9.0)}}
    bench.merged(path, old, "Monday.")
    tables, said = bench.merged(path, {"Two": {"floor": bench.Cost(1.0)}}, "Tuesday.")
    assert tables == {"One": old["One"], "Two": {"floor": bench.Cost(1.0)}}
    lines = bench.markdown(tables, said).splitlines()
    assert {"(1) Monday.", "(2) Tuesday.", "| **One** (1) | | | | |"} <= set(lines)
    assert "| **Two** (2) | | | | |" in lines


@pytest.mark.parametrize("words", [b"", b"soon"])
def test_the_time_to_the_first_paint_is_of_a_real_terminal(
    words: bytes, bench: Any, tmp_path: Path
) -> None:
    import first_paint

    made = object.__new__(bench.Bench)
    made.home, made.environment = tmp_path, dict(os.environ)
    shell = "[ -t 1 ] && sleep 0.2 && echo so; sleep 0.2; echo on; echo soon; exec sleep 60"
    seconds = first_paint.seen_after(made, ["/bin/sh", "-c", shell], words)
    assert (0.4 if words else 0.2) < seconds < 5


def test_the_phases_are_read_from_a_real_journal(bench: Any, tmp_path: Path) -> None:
    run = tmp_path / ".local/state/dream-runner/runs/1"
    run.mkdir(parents=True)
    written = [
        events.PhaseStarted(1.0, "localhost", "models"),
        events.PhaseFinished(2.5, "localhost", "models", "changed", 1, 1.5),
    ]
    lines = [json.dumps(events.to_message(event)) for event in written]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n")
    import first_install

    assert first_install.phase_seconds(tmp_path) == {"models": 1.5}


def test_the_size_of_the_bench_is_not_taken_for_that_of_a_command(
    bench: Any, tmp_path: Path
) -> None:
    made = object.__new__(bench.Bench)
    made.home, made.environment = tmp_path, dict(os.environ)
    held = random.Random(1).randbytes(64 * 1024 * 1024)
    cost = made.measure(["true"])
    assert len(held) / 1024**2 > 2 * cost.peak_mb > 0
    assert 0 < cost.wall < 5
    with pytest.raises(SystemExit, match="failed \\(3\\):\nno"):
        made.measure(["sh", "-c", "echo no; exit 3"])
