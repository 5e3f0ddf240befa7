"""A first install of the native profile: what each phase takes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
from collections import defaultdict
from pathlib import Path

from rerun.bench import Bench, Cost, median


def first_install(bench: Bench, _directory: Path, rounds: int) -> None:
    """Print the table of a first install, by phase; it leaves one behind.

    The engine's packages come from the index that pip is set up with, and from no cache.
    """
    totals: list[Cost] = []
    phases: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        totals.append(anew(bench))
        for phase, seconds in phase_seconds(bench.home).items():
            phases[phase].append(seconds)
    total = median(totals)
    named = {phase: statistics.median(seconds) for phase, seconds in phases.items()}
    found = {"the whole command": total}
    found |= {phase: Cost(seconds) for phase, seconds in named.items()}
    found["start, look, plan, end"] = Cost(max(0.0, total.wall - sum(named.values())))
    bench.tables["First install, native profile"] = found
    print(f"\nFirst install, native (median of {rounds}, load {os.getloadavg()[0]:.1f})")
    for name, cost in found.items():
        print(f"{name:46} {cost.wall:7.2f} s {cost.wall / total.wall:6.0%}")


def anew(bench: Bench) -> Cost:
    """Remove the install with all caches, and measure a first one."""
    bench.remove()
    shutil.rmtree(bench.home / ".cache", ignore_errors=True)
    return bench.measure(bench.ours())


def phase_seconds(home: Path) -> dict[str, float]:
    """Return what the phases of the newest run took, from its journal."""
    runs = (home / ".local/state/dream-runner/runs").glob("*/events.jsonl")
    newest = max(runs, key=lambda path: path.stat().st_mtime_ns)
    events = [json.loads(line) for line in newest.read_text().splitlines()]
    return {
        event["phase"]: float(event["seconds"])
        for event in events
        if event.get("type") == "phase_finished"
    }
