"""What every case shares: its seed, the install that nobody disturbed, and how each one ends."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import sandbox, victims
from .sandbox import Done, Sandbox

T = TypeVar("T")

#: What a kill may cost in bytes that were fetched already.
TWICE = 8 * 1024 * 1024

#: The first seed; a case draws from it together with its own name.
SEED = int(os.environ.get("DREAM_CHAOS_SEED", "0"))
#: How many kills at random instants; 200 is what a release needs.
KILLS = int(os.environ.get("DREAM_CHAOS_KILLS", "2"))
#: Every cell of every grid instead of a sample.
FULL = os.environ.get("DREAM_CHAOS_FULL") == "1"
#: The same of the full profile; 100 is what a release needs. In CI tests/e2e/test_full.py kills it.
_SLOW = FULL or os.environ.get("DREAM_TEST_SLOW") == "1"
FULL_KILLS = int(os.environ.get("DREAM_CHAOS_FULL_KILLS", "1" if _SLOW else "0"))
#: How long SIGSTOP holds a run.
STOP_SECONDS = float(os.environ.get("DREAM_CHAOS_STOP_SECONDS", "60" if FULL else "3"))


def chosen(grid: Sequence[T], count: int) -> list[T]:
    """Return the whole grid, or a sample of it by the seed, in its own order."""
    if FULL:
        return list(grid)
    picked = random.Random(SEED).sample(range(len(grid)), min(count, len(grid)))
    return [grid[n] for n in sorted(picked)]


def digest(state: object) -> str:
    """Return the state as one word: equal installs have equal words."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Undisturbed:
    """An install that nobody disturbed: its sandbox, how long it took, what it did and left."""

    sandbox: Sandbox
    seconds: float
    state: dict[str, Any]
    events: list[dict[str, Any]]
    #: What every install of the case is told beside the place and the port.
    flags: tuple[str, ...] = ()


@dataclass
class Case:
    """One case in progress: its dice, and the story that a failure tells."""

    reference: Undisturbed
    dice: random.Random
    story: list[str] = field(default_factory=list)
    #: The digest of the state in which it ended.
    end: str = ""

    @property
    def box(self) -> Sandbox:
        return self.reference.sandbox

    def tell(self, line: str) -> None:
        """Add a line to the story; pytest shows it when the case fails."""
        self.story.append(line)
        print(line)

    def recover(self, *flags: str, secrets: dict[str, str] | None = None) -> Done:
        """Run the next install, and the one after; check all that must hold of both."""
        box = self.box
        before = box.secrets() if secrets is None else secrets
        victims.wait_until_gone(box)
        done = box.install(*self.reference.flags, *flags)
        assert done.code == 0, str(done)
        self.check(before)
        self.check_rests()
        return done

    def recover_somehow(self) -> Done:
        """Recover with or without ``--resume``, as the dice fall."""
        flags = ["--resume"] if self.dice.random() < 0.5 else []
        self.tell(f"recovers with {flags or 'no flags'}")
        return self.recover(*flags)

    def check(self, secrets: dict[str, str]) -> None:
        """The state of an undisturbed install, the same secrets, an answer, nothing left over."""
        box = self.box
        kept = box.secrets()
        assert {name: kept.get(name) for name in secrets} == secrets, "secrets changed"
        found = sandbox.differences(self.reference.state, box.state())
        assert not found, "\n".join(found)
        assert box.leftovers() == []
        assert box.strangers() == []
        assert box.answer()

    def check_rests(self) -> None:
        """A finished install is asked again: no task runs, and nothing changes."""
        again = self.box.install()
        assert again.code == 0, str(again)
        assert again.changed == 0, str(again)
        assert again.tasks == 0, f"phases ran\n{again}\n{_reasons(self.box)}"
        state = self.box.state()
        self.end = digest(state)
        found = sandbox.differences(self.reference.state, state)
        assert not found, "\n".join(found)

    def at_rest(self) -> None:
        """Begin with a finished install that runs."""
        if not rests(self.reference):
            self.box.put_back("finished")
            done = self.box.install("--resume")
            assert done.code == 0, str(done)


def rests(reference: Undisturbed) -> bool:
    """Tell whether the sandbox holds the finished install, running."""
    box = reference.sandbox
    if sandbox.differences(reference.state, box.state()) or not sandbox.service_pids(box.home):
        return False
    done = box.install()
    return done.code == 0 and done.tasks == 0


def _reasons(box: Sandbox) -> str:
    finished = [event for event in box.events() if event["type"] == "phase_finished"]
    return "\n".join(f"{item['phase']}: {item['state']} {item['why']}" for item in finished)
