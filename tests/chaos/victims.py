"""The processes of a run by their part in it, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psutil

from . import journals
from .sandbox import Run, Sandbox

#: What can be hit: the wrapper, ansible-playbook, the process of a module, or the whole tree.
PARTS = ("wrapper", "playbook", "module", "tree")


def wrapper(run: Run) -> psutil.Process | None:
    """Return the wrapper; a tracer or a shell may stand before it."""
    return next(iter(_matching(family(run), _is_wrapper)), None)


def playbook(run: Run) -> psutil.Process | None:
    """Return ansible-playbook; its workers have its command line and are below it."""
    return next(iter(_matching(family(run), _is_playbook)), None)


def module(run: Run) -> psutil.Process | None:
    """Return the innermost Python of the module that runs, if one does in a process of its own."""
    top = playbook(run)
    if top is None:
        return None
    found = [item for item in children(top) if not _matching([item], _is_playbook)]
    return next(iter(_matching(found, _is_python)), None)


FIND: dict[str, Callable[[Run], psutil.Process | None]] = {
    "wrapper": wrapper,
    "playbook": playbook,
    "module": module,
}


def family(run: Run) -> list[psutil.Process]:
    """Return the started process and its descendants, parents first."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(run.pid)
        return [top, *children(top)]
    return []


def children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _matching(
    found: list[psutil.Process], test: Callable[[list[str]], bool]
) -> Iterator[psutil.Process]:
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            if test(process.cmdline()):
                yield process


def _is_wrapper(words: list[str]) -> bool:
    # The process that scripts/dream-runner starts, with or without -B.
    return _is_python(words) and " -m dream_runner " in " ".join([*words[:5], ""])


def _is_playbook(words: list[str]) -> bool:
    return words[1:4] == ["-m", "ansible", "playbook"]


def _is_python(words: list[str]) -> bool:
    return bool(words) and Path(words[0]).name.startswith("python")


def wait_for(
    test: Callable[[], psutil.Process | None], run: Run, seconds: float = 120
) -> psutil.Process | None:
    """Return what ``test`` finds, or None when the run ends before there is anything."""
    deadline = time.monotonic() + seconds
    while run.is_alive and time.monotonic() < deadline:
        found = test()
        if found is not None:
            return found
        time.sleep(0.01)
    return None


def hit(run: Run, part: str, number: signal.Signals) -> bool:
    """Send the signal to one part of the run; tell whether there was one to hit."""
    if part == "tree":
        signal_all(run, number)
        return True
    found = FIND[part](run)
    if found is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        found.send_signal(number)
    return True


def signal_all(run: Run, number: signal.Signals) -> None:
    """Signal the run and all its descendants, stopped first so that none makes another.

    A supervisor that has already detached itself is not part of the run.
    """
    stopped = stop(run)
    for item in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            item.send_signal(number)
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        go_on(stopped)


def stop(run: Run) -> list[psutil.Process]:
    """Stop the run with all its descendants; return who was stopped."""
    seen: dict[int, psutil.Process] = {}
    while fresh := [item for item in family(run) if item.pid not in seen]:
        for item in fresh:
            seen[item.pid] = item
            with contextlib.suppress(psutil.NoSuchProcess):
                item.send_signal(signal.SIGSTOP)
    return list(seen.values())


def go_on(stopped: list[psutil.Process]) -> None:
    for item in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            item.send_signal(signal.SIGCONT)


def kill(run: Run) -> None:
    """Kill -9 the run and all its descendants."""
    signal_all(run, signal.SIGKILL)
    run.process.wait(timeout=30)


def wait_until_gone(box: Sandbox, seconds: float = 20) -> None:
    """What a kill did not reach must end by itself: no half of a run goes on alone."""
    deadline = time.monotonic() + seconds
    while box.strangers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert box.strangers() == [], "survived the kill"


class Journals(Protocol):
    """Where runs leave their journals."""

    @property
    def state_dir(self) -> Path: ...


def wait_for_event(
    box: Journals, run: Run, test: Callable[[dict[str, object]], bool], seconds: float = 200
) -> bool:
    """Return True at the first event of a new journal that fits; False if the run ends."""
    known = {item.name for item in _journals(box)}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = run.is_alive
        fresh = [item for item in _journals(box) if item.name not in known]
        if any(test(event) for item in fresh for event in journals.of_run(Path(item))):
            return True
        if not alive:
            return False
        time.sleep(0.005)
    raise AssertionError(f"the event did not come within {seconds} s\n{run}")


def _journals(box: Journals) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError):
        return list(os.scandir(box.state_dir / "runs"))
    return []
