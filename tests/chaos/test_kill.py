"""kill -9 of an install at random instants; the next run finishes it, the one after rests.

Each case is a seed, so that a failure can be played again: ``DREAM_CHAOS_SEED=17
DREAM_CHAOS_KILLS=1`` runs exactly the case that failed. DREAM_CHAOS_KILLS says how many (6 unless
told; 20 is what a release needs).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import sandbox
from .sandbox import Done, Sandbox

ROOT = Path(__file__).resolve().parents[2]
FIRST = int(os.environ.get("DREAM_CHAOS_SEED", "0"))
KILLS = int(os.environ.get("DREAM_CHAOS_KILLS", "6"))


@dataclass(frozen=True)
class Undisturbed:
    """An install that nobody disturbed: the sandbox, how long it took, what it left."""

    sandbox: Sandbox
    seconds: float
    state: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    directory = tmp_path_factory.mktemp("chaos")
    box = Sandbox(directory, copy_of_checkout(directory / "source"))
    try:
        # Twice: the first one fills pip's cache and makes the private environment.
        for _ in range(2):
            box.wipe()
            done = box.install()
            assert done.code == 0, str(done)
        state = box.state()
        check_rests(box)
        assert sandbox.differences(state, box.state()) == []
        yield Undisturbed(box, done.seconds, state)
    finally:
        box.wipe()


def copy_of_checkout(target: Path) -> Path:
    """Return a copy of the working tree: nobody edits it while installs run."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    )
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def check_rests(box: Sandbox) -> None:
    """A finished install is asked again and has nothing to do."""
    again = box.install()
    assert again.code == 0, str(again)
    assert again.changed == 0, str(again)


def check_recovered(undisturbed: Undisturbed, secrets: dict[str, str], story: str) -> None:
    """The run after the kill finishes the work: same state, same secrets, nothing left over."""
    box = undisturbed.sandbox
    done: Done = box.install()
    assert done.code == 0, f"{story}\n{done}"
    assert box.answer(), story
    kept = box.secrets()
    assert {name: kept.get(name) for name in secrets} == secrets, f"{story}: secrets changed"
    found = sandbox.differences(undisturbed.state, box.state())
    assert not found, story + "\n" + "\n".join(found)
    assert box.leftovers() == [], story
    assert box.strangers() == [], story
    check_rests(box)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + KILLS))
def test_killed_at_a_random_instant(undisturbed: Undisturbed, seed: int) -> None:
    dice = random.Random(seed)
    instant = dice.uniform(0, undisturbed.seconds)
    everything = dice.random() < 0.5
    box = undisturbed.sandbox
    box.wipe()
    running = box.start()
    time.sleep(instant)
    if everything:
        box.end_services()
        running.wait(timeout=30)
    else:
        sandbox.kill_run(running)
        wait_for_survivors(box)
    what = "everything, the services too" if everything else "the run"
    story = f"seed {seed}: killed {what} after {instant:.2f} of {undisturbed.seconds:.2f} s"
    check_recovered(undisturbed, box.secrets(), story)


def wait_for_survivors(box: Sandbox, seconds: float = 5) -> None:
    """What the kill did not reach must end by itself: no half of a run goes on alone."""
    deadline = time.monotonic() + seconds
    while box.strangers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert box.strangers() == [], "survived the kill"


@pytest.mark.timeout(900)
def test_killed_again_and_again(undisturbed: Undisturbed) -> None:
    """Each run gets a little further than the one before; the secrets are made once."""
    box = undisturbed.sandbox
    box.wipe()
    dice = random.Random(FIRST)
    secrets: dict[str, str] = {}
    for _ in range(4):
        running = box.start("--resume")
        time.sleep(dice.uniform(0.3, 0.6) * undisturbed.seconds)
        sandbox.kill_run(running)
        wait_for_survivors(box)
        now = box.secrets()
        assert {name: now.get(name) for name in secrets} == secrets
        secrets = now
    check_recovered(undisturbed, secrets, "killed four times")
