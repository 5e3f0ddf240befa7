"""Run a long command of the engine, which ends with this process."""

from __future__ import annotations

from typing import Sequence

from ..system import tools
from ..system.process import Finished, run_child
from .engine import environment


def child(
    argv: Sequence[str],
    directory: str = "/",
    kept_lines: int = 40,
    feed: Sequence[str] = (),
) -> Finished:
    """Run a long command of the engine, which ends with this process."""
    program = tools.path_of(argv[0]) or argv[0]
    return run_child(
        [program, *argv[1:]],
        environment=environment(),
        directory=directory,
        kept_lines=kept_lines,
        feed=feed,
    )
