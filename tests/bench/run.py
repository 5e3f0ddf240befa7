"""Every bench of this machine, as one table and one plot.

    python tests/bench/run.py [--rounds 3] [--out DIR] [--only PART ...] [--all] [--against REF]

Writes measured.md and measured.svg into DIR (docs/developer). Rows of one group were run in
turn and are medians: compare within a group, and ratios before seconds. A group that was not run
this time stays as it was, with its own date; measured.json has all figures. ``--all`` adds what
takes long and wants root: ``fetch`` (nginx, aria2, curl from Debian; some GiB of disk) and
``fleet`` and ``users`` (podman). ``--against REF`` adds the same commands of an older commit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path

from against import against
from facts import facts
from first_install import first_install
from first_paint import first_paint
from rerun.bench import ROOT, Bench, Cost, first_byte, no_change

_FETCH_MIB = 1024


def fetch(bench: Bench, directory: Path, rounds: int) -> None:
    """Run the bench of fetching and keep its tables."""
    # It finds its own helper beside itself.
    sys.path.append(str(ROOT / "tests" / "bench" / "fetch"))
    from fetch import bench as fetching

    print_table = fetching.table

    def kept(title, rows, rounds):  # type: ignore[no-untyped-def]
        found = print_table(title, rows, rounds)
        bench.tables[f"Fetch: {title}"] = {
            name: Cost(cost.wall, cost.cpu, cost.peak_mb) for name, cost in found.items()
        }
        return found

    fetching.table = kept
    place = directory / "fetch"
    place.mkdir()
    made = fetching.Bench(place, _FETCH_MIB, rounds)
    made.install()
    for part in fetching.PARTS.values():
        part(made)


def fleet(bench: Bench, directory: Path, rounds: int) -> None:
    """Run the bench of the fleet; it needs what the others do not."""
    from fleet.bench import fleet as measured

    measured(bench, directory, rounds)


def users(bench: Bench, directory: Path, rounds: int) -> None:
    """Measure a first install for each kind of user, once each; wants root and podman."""
    from users import rows

    bench.tables["From a bare machine to an answer, by kind of user and lines typed"] = {
        name: Cost(row.seconds) for name, row in rows()
    }


Part = Callable[[Bench, Path, int], None]
PARTS: dict[str, Part] = {
    "first-install": first_install,
    "no-change": no_change,
    "first-byte": first_byte,
    "first-paint": first_paint,
    "facts": facts,
}
LONG: dict[str, Part] = {"fetch": fetch, "fleet": fleet, "users": users}
Tables = Mapping[str, Mapping[str, Cost]]

# --- a table --------------------------------------------------------------------------


def markdown(tables: Tables, about: Mapping[str, str]) -> str:
    """Return all figures as one table; each ratio is to the first row of its group.

    ``about`` says of each group when and where it was measured; groups of one run share a line.
    """
    said = dict.fromkeys(about[title] for title in tables)
    note = {text: "" if len(said) == 1 else f" ({n})" for n, text in enumerate(said, start=1)}
    lines = [
        "# Measured",
        "",
        "By `tests/bench/run.py`; [how to read it](performance.md).",
        *(f"{note[text].strip()} {text}".strip() for text in said),
        "",
        "| | wall s | ratio | CPU s | peak MB |",
        "|---|--:|--:|--:|--:|",
    ]
    for title, rows in tables.items():
        base = next(iter(rows.values()))
        lines.append(f"| **{title}**{note[about[title]]} | | | | |")
        lines += [_line(name, cost, base) for name, cost in rows.items()]
    return "\n".join([*lines, "", "![The same as bars](measured.svg)", ""])


def _line(name: str, cost: Cost, base: Cost) -> str:
    ratio = f"{cost.wall / base.wall:.2f}" if base.wall else ""
    cpu = f"{cost.cpu:.2f}" if cost.cpu else ""
    peak = f"{cost.peak_mb:.0f}" if cost.peak_mb else ""
    return f"| {name} | {cost.wall:.2f} | {ratio} | {cpu} | {peak} |"


# --- a plot ---------------------------------------------------------------------------

_WIDTH, _NAMES, _ROW, _HEAD = 860, 400, 20, 44
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.b{fill:#57606a}"
    ".o{fill:#0969da}.n{text-anchor:end}"
    "@media(prefers-color-scheme:dark){text{fill:#d1d7e0}.b{fill:#9198a1}.o{fill:#4493f8}}"
)


def svg(tables: Tables) -> str:
    """Return a bar for each row; within a group they share a scale, ours have a colour."""
    parts, top = [], 0
    for title, rows in tables.items():
        parts.append(f'<text class="t" x="8" y="{top + 28}">{escape(title)}, seconds</text>')
        top += _HEAD
        longest = max(cost.wall for cost in rows.values()) or 1.0
        for name, cost in rows.items():
            parts.append(_bar(name, cost.wall, cost.wall / longest, top))
            top += _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 12}" role="img" '
        f'aria-label="Times as bars; the table has the figures"><style>{_STYLE}</style>'
        f"{''.join(parts)}</svg>\n"
    )


def _bar(name: str, seconds: float, share: float, top: int) -> str:
    width = max(1.0, share * (_WIDTH - _NAMES - 70))
    kind = "o" if name.startswith("dream") else "b"
    return (
        f'<text class="n" x="{_NAMES - 8}" y="{top + 13}">{escape(name)}</text>'
        f'<rect class="{kind}" x="{_NAMES}" y="{top + 2}" width="{width:.1f}" height="14" rx="2"/>'
        f'<text x="{_NAMES + width + 6:.1f}" y="{top + 13}">{seconds:.2f}</text>'
    )


# --- the run --------------------------------------------------------------------------


def about(rounds: int, before: float) -> str:
    """Say where and when: figures of two machines are not compared."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"{day}, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, medians of {rounds}; load {before:.1f} before, "
        f"{os.getloadavg()[0]:.1f} after (its own included)."
    )


def merged(path: Path, tables: Tables, said: str) -> tuple[Tables, dict[str, str]]:
    """Add these tables to those of earlier runs, write all to ``path``, and return them."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for title, rows in tables.items():
        figures = {name: asdict(cost) for name, cost in rows.items()}
        known[title] = {"about": said, "rows": figures}
    path.write_text(json.dumps(known, indent=1) + "\n")
    whole = {
        title: {name: Cost(**cost) for name, cost in group["rows"].items()}
        for title, group in known.items()
    }
    return whole, {title: group["about"] for title, group in known.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "developer")
    parser.add_argument("--only", choices=[*PARTS, *LONG, "none"], action="append")
    parser.add_argument("--all", action="store_true", help="with fetch, fleet and users")
    parser.add_argument("--against", metavar="REF", help="also this older commit")
    wanted = parser.parse_args()
    parts = PARTS | LONG
    names = [name for name in wanted.only or (parts if wanted.all else PARTS) if name != "none"]
    if wanted.against:
        parts["against"] = partial(against, reference=wanted.against)
        names.append("against")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="dream-bench-") as name:
        bench = Bench(Path(name))
        try:
            bench.measure(bench.ours())
            # The second run finds byte code and caches as every later one does.
            bench.measure(bench.ours())
            for part in names:
                parts[part](bench, Path(name), wanted.rounds)
        finally:
            bench.remove()
    wanted.out.mkdir(parents=True, exist_ok=True)
    data = wanted.out / "measured.json"
    tables, said = merged(data, bench.tables, about(wanted.rounds, before))
    (wanted.out / "measured.md").write_text(markdown(tables, said))
    (wanted.out / "measured.svg").write_text(svg(tables))
    print(f"\n{wanted.out}/measured.md, {wanted.out}/measured.svg")


if __name__ == "__main__":
    main()
