"""What tests/bench/fleet makes of its figures, and that it counts who leaves the family."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths

BENCH = paths.PACKAGE.parent / "tests" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module by its file: ``fleet`` is also the name of a package of tests."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    spec = importlib.util.spec_from_file_location("fleet_bench", BENCH / "fleet" / "bench.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Its data classes look themselves up.
    monkeypatch.setitem(sys.modules, "fleet_bench", module)
    spec.loader.exec_module(module)
    return module


def test_the_growth_is_a_line_of_least_squares(bench: Any) -> None:
    line = bench.fitted([(5, 7.0), (10, 12.0), (20, 22.0), (40, 42.0)])
    assert (line.first, line.each, line.r2) == pytest.approx((2.0, 1.0, 1.0))
    assert bench.fitted([(1, 1.0), (2, 3.0), (3, 2.0)]).r2 == pytest.approx(0.25)


def test_a_ratio_is_of_the_same_number_of_hosts(bench: Any) -> None:
    ours = [bench.Figure(5, 1.0, 1.0, 1.0), bench.Figure(20, 4.0, 2.0, 3.0)]
    made = bench.Measured(8, ours, None, bench.Figure(20, 40.0, 16.0, 6.0))
    assert made.ratios() == {"cpu": 0.125, "wall": 0.1, "peak_mb": 0.5}
    said = bench.report(made)
    assert "ours / stock, cpu: 0.125 (target <= 0.125) ok" in said
    slow = bench.Measured(8, ours, None, bench.Figure(20, 10.0, 16.0, 6.0))
    assert "wall: 0.400 (target <= 0.125) MISSED" in bench.report(slow)


#: Forks twice, as ssh's shared connections do, works for a while, and outlives its parent.
_LEAVER = """
import os, time
done, say = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        held = bytearray(40 << 20)
        os.write(say, b".")
        time.sleep(60)
    os._exit(0)
# However busy the machine is: until there is something to be seen, and the time to see it.
os.read(done, 1)
time.sleep(2)
"""


def test_who_leaves_the_family_is_counted_and_ended(bench: Any, tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    command = [sys.executable, "-I", "-S", "-c", bench._WATCH, str(figures)]
    done = subprocess.run([*command, sys.executable, "-c", _LEAVER], timeout=60)
    wall, cpu, peak = json.loads(figures.read_text())
    assert done.returncode == 0
    assert 2 <= wall < 55
    assert cpu >= 0.5
    assert peak >= 40
