"""Signals to every part of a run, at random instants and at every event."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest

from . import cases, victims
from .cases import Case, Undisturbed, chosen
from .origin import SIZE, Origin

SIGNALS = {name: signal.Signals[f"SIG{name}"] for name in ("INT", "TERM", "HUP", "KILL")}
GRID = [(name, part) for name in SIGNALS for part in victims.PARTS]
#: Where a module runs long enough in a process of its own to be hit for certain.
LONG_TASKS = (
    "Merge the environment file and create missing secrets",
    "Fetch the models",
    "Install the engine's packages",
    "Run the program under supervisord",
    "Ask the model a question",
)
#: What runs by itself when the engine is down: these need no install from the beginning.
LATE = ("services", "health", "summary")
#: Every event of an undisturbed install that takes part in the order of things.
EVENTS = 75

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("seed", range(cases.SEED, cases.SEED + cases.KILLS))
def test_killed_at_a_random_instant(
    case: Case,
    undisturbed: Undisturbed,
    fetching: tuple[Undisturbed, Origin],
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """kill -9 of the run, in half the cases of the services as well.

    One case in three begins with nothing at all, the others with the engine's
    packages in place: making them is half of the time, and nearly all of the work.
    The model comes from a server that counts.
    """
    began = time.monotonic()
    case.dice = random.Random(seed)
    case.reference, origin = fetching
    before = origin.server.sent()
    bare = case.dice.random() < 1 / 3
    case.box.wipe() if bare else case.box.put_back("packages")
    begin = "nothing" if bare else "packages"
    case.tell(f"seed {seed}: begins with {begin} in place")
    kill_within(case, (undisturbed if bare else case.reference).seconds)
    case.recover_somehow()
    twice = origin.server.sent() - before - SIZE
    case.tell(f"{twice} bytes came twice")
    assert 0 <= twice <= cases.TWICE
    for name, value in (
        ("profile", "native"),
        ("seed", seed),
        ("seconds", time.monotonic() - began),
        ("twice", twice),
        ("state", case.end),
    ):
        record_property(name, value)


def kill_within(case: Case, seconds: float) -> None:
    """Begin an install and kill it within so many seconds, as the dice fall."""
    box = case.box
    instant = case.dice.uniform(0, seconds)
    everything = case.dice.random() < 0.5
    entry = "install.sh" if case.dice.random() < 0.2 else "runner"
    what = "everything, the services too" if everything else "the run"
    case.tell(f"{entry}: kills {what} after {instant:.2f} of {seconds:.2f} s")
    run = box.start(*case.reference.flags, entry=entry)
    time.sleep(instant)
    events = box.events()
    case.tell(f"the last event was {events[-1] if events else 'none'}")
    if everything:
        box.end_services()
        run.process.wait(timeout=30)
    else:
        victims.kill(run)


@pytest.mark.parametrize(("name", "part"), chosen(GRID, 2), ids=lambda value: str(value))
def test_signal_to_one_part(case: Case, name: str, part: str) -> None:
    """One part of the run gets a signal; what of the run is left ends by itself."""
    box = case.box
    task = case.dice.choice(LONG_TASKS)
    case.tell(f"{name} to {part} during '{task}'")
    # Who hears what is the subject: a run in which every role looks again is enough.
    box.put_back("finished")
    run = box.start("--full")
    assert victims.wait_for_event(box, run, starts(task)), str(run)
    if part == "module":
        victims.wait_for(lambda: victims.module(run), run, 10)
    case.tell(f"hit: {victims.hit(run, part, SIGNALS[name])}")
    done = box.finish(run, 60)
    case.tell(f"ended with {done.code}")
    if (name, part) in {("INT", "wrapper"), ("TERM", "wrapper"), ("HUP", "wrapper")}:
        assert done.code == 130, str(done)
        assert box.strangers() == [], "a polite end leaves nothing running"
    case.recover_somehow()


def starts(task: str) -> Callable[[dict[str, object]], bool]:
    """Return a test for the event with which the task begins."""
    return lambda event: event["type"] == "task_started" and str(event["task"]).endswith(task)


@pytest.mark.parametrize("number", chosen(range(EVENTS), 1))
def test_killed_at_an_event(case: Case, number: int) -> None:
    """kill -9 of one part at the very moment when a phase or task begins or ends."""
    events = [item for item in case.reference.events if item["type"].startswith(("phase", "task"))]
    event = events[number * len(events) // EVENTS]
    part = case.dice.choice(["wrapper", "playbook", "tree"])
    key = {name: event[name] for name in ("type", "phase", "task") if name in event}
    case.tell(f"kill -9 of {part} at {key}")
    late = event["phase"] in LATE
    case.box.put_back("finished") if late else case.box.wipe()
    run = case.box.start(*(["--resume"] if late else []))
    came = victims.wait_for_event(
        case.box, run, lambda other: all(other.get(name) == key[name] for name in key)
    )
    assert came, str(run)
    victims.hit(run, part, signal.SIGKILL)
    case.box.finish(run, 60)
    case.recover_somehow()


@pytest.mark.occasional
def test_killed_again_and_again(case: Case) -> None:
    """Each run gets a little further than the one before; the secrets are made once."""
    box = case.box
    box.wipe()
    secrets: dict[str, str] = {}
    for _ in range(3):
        run = box.start("--resume")
        time.sleep(case.dice.uniform(0.3, 0.6) * case.reference.seconds)
        victims.kill(run)
        victims.wait_until_gone(box)
        now = box.secrets()
        assert {name: now.get(name) for name in secrets} == secrets
        secrets = now
    case.recover("--resume", secrets=secrets)


@pytest.mark.occasional
@pytest.mark.parametrize("part", chosen(victims.PARTS, 1))
def test_stopped_for_a_while(case: Case, part: str) -> None:
    """SIGSTOP, a pause, SIGCONT: the same run goes on and ends well."""
    box = case.box
    task = case.dice.choice(LONG_TASKS[1:])
    case.tell(f"stops {part} in '{task}' for {cases.STOP_SECONDS:.0f} s")
    box.put_back("finished")
    run = box.start("--full")
    assert victims.wait_for_event(box, run, starts(task)), str(run)
    if part == "tree":
        stopped = victims.stop(run)
    else:
        found = victims.wait_for(lambda: victims.FIND[part](run), run, 10)
        stopped = [found] if found else []
        victims.hit(run, part, signal.SIGSTOP)
    time.sleep(cases.STOP_SECONDS)
    victims.go_on(stopped)
    done = box.finish(run)
    assert done.code == 0, str(done)
    case.check(box.secrets())
    case.check_rests()


@pytest.mark.occasional
def test_second_ctrl_c_ends_at_once(case: Case) -> None:
    """Two interrupts in a row leave no more behind than one."""
    box = case.box
    box.wipe()
    run = box.start()
    assert victims.wait_for_event(box, run, starts(LONG_TASKS[2])), str(run)
    for _ in range(2):
        victims.hit(run, "wrapper", signal.SIGINT)
        time.sleep(case.dice.uniform(0, 0.3))
    done = box.finish(run, 60)
    assert done.code == 130, str(done)
    case.recover_somehow()
