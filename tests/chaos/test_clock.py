"""A clock that jumps two days, before a run, between two, and in the middle of one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from . import victims
from .cases import Case, chosen
from .places import Clock

DAYS = 2 * 24 * 3600
pytestmark = pytest.mark.timeout(900)


def _name(jump: int) -> str:
    return "later" if jump > 0 else "earlier"


@pytest.fixture
def clock(case: Case, tmp_path: Path) -> Clock:
    made = Clock(tmp_path)
    case.box.extra.update(made.environment)
    return made


@pytest.mark.parametrize("jump", chosen([DAYS, -DAYS], 1), ids=_name)
def test_jump_between_two_runs(case: Case, clock: Clock, jump: int) -> None:
    """What was finished stays finished, whatever the receipts' times look like now."""
    case.at_rest()
    clock.set(jump)
    done = case.box.install()
    assert (done.code, done.changed) == (0, 0), str(done)
    case.check(case.box.secrets())
    case.check_rests()
    clock.set(0)
    case.check_rests()


@pytest.mark.occasional
@pytest.mark.parametrize("jump", chosen([DAYS, -DAYS], 1), ids=_name)
def test_jump_in_the_middle(case: Case, clock: Clock, jump: int) -> None:
    """The run that sees the jump ends well; the one after has nothing to do."""
    box = case.box
    box.put_back("finished")
    run = box.start("--full")
    time.sleep(case.dice.uniform(0.1, 0.5) * case.reference.seconds)
    clock.set(jump)
    done = box.finish(run)
    assert done.code == 0, str(done)
    case.check(box.secrets())
    case.check_rests()


@pytest.mark.slow
@pytest.mark.occasional
@pytest.mark.parametrize("jump", chosen([DAYS, -DAYS], 1), ids=_name)
def test_killed_in_another_time(case: Case, clock: Clock, jump: int) -> None:
    """A run of the day after tomorrow, or of the day before yesterday, is killed; today repairs."""
    box = case.box
    box.put_back("finished")
    clock.set(jump)
    run = box.start("--full")
    time.sleep(case.dice.uniform(0.2, 0.9) * case.reference.seconds / 2)
    victims.kill(run)
    clock.set(0)
    case.recover_somehow()
