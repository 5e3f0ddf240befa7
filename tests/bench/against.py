"""This checkout against an older one, in turn, in one run: what a change of speed was worth."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from first_install import anew, phase_seconds
from rerun.bench import ROOT, Bench, Cost, median

#: Phases whose own time is worth a row: the largest of a first install.
_PHASES = ("directories", "services", "health", "summary")


def against(bench: Bench, directory: Path, rounds: int, reference: str) -> None:
    """Print the table of this checkout and of ``reference``; each leaves its install."""
    source = directory / "before"
    source.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", reference], check=True, stdout=subprocess.PIPE
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(source)], check=True, input=archive)
    before = Bench(directory / "old", source, peers=())
    try:
        before.measure(before.ours())
        _table(bench, before, rounds, reference)
    finally:
        before.remove()


def _table(bench: Bench, before: Bench, rounds: int, reference: str) -> None:
    sides = {f"before ({reference})": before, "dream-runner now": bench}
    runs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for what, measure in _WHAT.items():
            for side, place in sides.items():
                runs[what][side].append(measure(place))
                if what == _FIRST:
                    for phase, seconds in phase_seconds(place.home).items():
                        if phase in _PHASES:
                            runs[f"{what}: {phase}"][side].append(Cost(seconds))
    print(f"\nBefore and after (median of {rounds}, load {os.getloadavg()[0]:.1f})")
    for what, found in runs.items():
        rows = {side: median(costs) for side, costs in found.items()}
        bench.tables[f"Before and after: {what}"] = rows
        first, last = rows.values()
        print(
            f"{what:40} {first.wall:7.2f} s -> {last.wall:7.2f} s ({last.wall / first.wall:.0%});"
            f" CPU {first.cpu:6.2f} -> {last.cpu:6.2f}"
        )


_FIRST = "first install, native"
_WHAT: dict[str, Callable[[Bench], Cost]] = {
    _FIRST: anew,
    "install --full, nothing differs": lambda bench: bench.measure(bench.ours("--full")),
    "install, nothing differs": lambda bench: bench.measure(bench.ours()),
    "--version": lambda bench: bench.measure([bench.program("dream-runner"), "--version"]),
    "install --help": lambda bench: bench.measure(
        [bench.program("dream-runner"), "install", "--help"]
    ),
}
