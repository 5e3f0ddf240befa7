"""Run the chaos cases, or play one again: ``python -m tests.chaos --help``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def main() -> int:
    words = _parser().parse_args()
    os.environ["DREAM_CHAOS_SEED"] = str(words.seed)
    if words.kills is not None:
        os.environ["DREAM_CHAOS_KILLS"] = str(words.kills)
    if words.full_kills is not None:
        os.environ["DREAM_CHAOS_FULL_KILLS"] = str(words.full_kills)
    if words.stop_seconds is not None or not words.full:
        os.environ["DREAM_CHAOS_STOP_SECONDS"] = str(words.stop_seconds or 3)
    # A case that is named is there, whatever this seed's sample of its grid would be.
    if words.full or any("::" in name for name in words.cases):
        os.environ["DREAM_CHAOS_FULL"] = "1"
    arguments = [f"--rootdir={HERE.parents[1]}", f"--confcutdir={HERE.parent}"]
    arguments += ["-c", str(HERE.parents[1] / "pyproject.toml"), "-p", "no:cacheprovider"]
    arguments += ["--collect-only", "-q"] if words.list else ["-v", "-ra"]
    arguments += ["-x"] if words.first_failure else []
    arguments += ["-n", str(words.workers), "--dist", "load"] if words.workers > 1 else []
    return pytest.main([*arguments, *(_place(name) for name in words.cases or [""])])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Disturb installs in a sandbox and see that the next run repairs them. "
        "Touches nothing outside a directory of its own; some cases need root, strace or gcc "
        "and say so. Without a case: a sample of all, about 6 minutes.",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="test_file.py[::test_name]")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("DREAM_CHAOS_SEED", "0")))
    parser.add_argument("--kills", type=int, help="kills at random instants (a release: 200)")
    parser.add_argument(
        "--full-kills", type=int, help="the same of the full profile, in a node (a release: 100)"
    )
    parser.add_argument("--full", action="store_true", help="every cell of every grid; hours")
    parser.add_argument("--stop-seconds", type=float, help="how long SIGSTOP holds a run")
    parser.add_argument("--workers", type=int, default=1, help="so many cases at a time")
    parser.add_argument("--list", action="store_true", help="name the cases and run none")
    parser.add_argument("-x", "--first-failure", action="store_true", help="end at the first")
    return parser


def _place(name: str) -> str:
    return str(HERE / name) if name else str(HERE)


if __name__ == "__main__":
    sys.exit(main())
