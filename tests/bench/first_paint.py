"""How long a person looks at an empty terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rerun.bench import Bench, Cost, single_task, target

_WAIT_SECONDS = 60.0


def first_paint(bench: Bench, directory: Path, rounds: int) -> None:
    """Print the table of the time from a command to what it shows first, on a terminal."""
    ours = [word for word in bench.ours() if word not in ("--yes", "--json")]
    rows = {
        "ansible-playbook, one module task: anything": (single_task(bench, directory), b""),
        "dream-runner install: its first line": (ours, b"Looking"),
        "dream-runner install --fresh: the plan and its question": (
            [*ours, "--fresh"],
            b"Go ahead?",
        ),
    }
    found: dict[str, Cost] = {}
    runs: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, (command, words) in rows.items():
            runs[name].append(seen_after(bench, command, words))
    found = {name: Cost(statistics.median(seconds)) for name, seconds in runs.items()}
    bench.tables["From the command to what is seen, on a terminal"] = found
    print(f"\nFirst paint (median of {rounds}, load {os.getloadavg()[0]:.1f})")
    for name, cost in found.items():
        print(f"{name:60} {cost.wall:7.3f} s")
    target("seconds to the first line", found["dream-runner install: its first line"].wall, 0.3)


def seen_after(bench: Bench, command: Sequence[str], words: bytes) -> float:
    """Return the seconds until ``words``, or anything at all, is seen; end the command then."""
    began = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(bench.home)
        # A job in the background inherits that Ctrl-C is ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execve(command[0], list(command), {**bench.environment, "TERM": "xterm-256color"})
    try:
        seen = b""
        while time.monotonic() - began < _WAIT_SECONDS:
            if select.select([terminal], [], [], 1.0)[0]:
                seen += os.read(terminal, 65536)
                if seen and words in seen:
                    return time.monotonic() - began
        raise SystemExit(f"{words!r} was not seen of {command}: {seen!r}")
    finally:
        os.kill(child, signal.SIGINT)
        _drain(terminal)
        os.waitpid(child, 0)
        os.close(terminal)


def _drain(terminal: int) -> None:
    """Read to the end: who cannot write to a terminal does not end either."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return
