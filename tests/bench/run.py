"""Every bench of this machine, as one table and one plot.

    python tests/bench/run.py [--rounds 3] [--out DIR] [--only PART] [--fetch MIB]

Writes measured.md and measured.svg into DIR (docs/developer). Rows of one table were run in
turn and are medians: compare within a table, and ratios before seconds. ``--fetch`` adds
tests/bench/fetch, which wants root and some GiB of disk.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

from facts import facts
from first_install import first_install
from rerun.bench import ROOT, Bench, Cost, first_byte, no_change

PARTS: dict[str, Callable[[Bench, Path, int], None]] = {
    "first-install": first_install,
    "no-change": no_change,
    "first-byte": first_byte,
    "facts": facts,
}
Tables = Mapping[str, Mapping[str, Cost]]

# --- a table --------------------------------------------------------------------------


def markdown(tables: Tables, about: str) -> str:
    """Return all figures as one table; each ratio is to the first row of its group."""
    lines = [
        "# Measured",
        "",
        f"By `tests/bench/run.py`; [how to read it](performance.md). {about}",
        "",
        "| | wall s | ratio | CPU s | peak MB |",
        "|---|--:|--:|--:|--:|",
    ]
    for title, rows in tables.items():
        base = next(iter(rows.values()))
        lines.append(f"| **{title}** | | | | |")
        lines += [_line(name, cost, base) for name, cost in rows.items()]
    return "\n".join([*lines, "", "![The same as bars](measured.svg)", ""])


def _line(name: str, cost: Cost, base: Cost) -> str:
    ratio = f"{cost.wall / base.wall:.2f}" if base.wall else ""
    cpu = f"{cost.cpu:.2f}" if cost.cpu else ""
    peak = f"{cost.peak_mb:.0f}" if cost.peak_mb else ""
    return f"| {name} | {cost.wall:.2f} | {ratio} | {cpu} | {peak} |"


# --- a plot ---------------------------------------------------------------------------

_WIDTH, _NAMES, _ROW, _HEAD = 760, 290, 20, 44
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


def fetched(mib: int) -> str:
    """Run the bench of fetching and return what it prints."""
    argv = [sys.executable, str(ROOT / "tests" / "bench" / "fetch" / "bench.py"), "--mib", str(mib)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return f"\n## Fetching\n\n```\n{done.stdout.strip()}\n```\n"


def about(rounds: int, before: float) -> str:
    """Say where and when: figures of two machines are not compared."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"{day}, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, medians of {rounds}; load {before:.1f} before, "
        f"{os.getloadavg()[0]:.1f} after (its own included)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "developer")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--fetch", type=int, default=0, metavar="MIB")
    wanted = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="dream-bench-") as name:
        bench = Bench(Path(name))
        try:
            bench.measure(bench.ours())
            # The second run finds byte code and caches as every later one does.
            bench.measure(bench.ours())
            for part in wanted.only or PARTS:
                PARTS[part](bench, Path(name), wanted.rounds)
        finally:
            bench.measure([bench.program("dream-runner"), "uninstall", "--purge", "--yes"])
    page = markdown(bench.tables, about(wanted.rounds, before))
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "measured.md").write_text(page + (fetched(wanted.fetch) if wanted.fetch else ""))
    (wanted.out / "measured.svg").write_text(svg(bench.tables))
    print(f"\n{wanted.out}/measured.md, {wanted.out}/measured.svg")


if __name__ == "__main__":
    main()
