"""The rows of the interruption matrix that an native install can play (chaos.md)."""

from __future__ import annotations

import json
import time

import pytest
from fixtures.villain import Villain

from . import victims
from .cases import Case, chosen
from .origin import Origin
from .test_kill import starts
from .test_network import fetched, finish_and_rest

pytestmark = pytest.mark.timeout(900)

#: The row, the task in which the run dies, and whether its work is done already at the start.
ROWS = [
    ("04-report", "Compare the requirements with the host", True),
    ("06-copying", "Create the directories", False),
    ("06-environment", "Merge the environment file and create missing secrets", False),
    ("09-model", "Fetch the models", False),
    ("11-building", "Install the engine's packages", False),
    ("11-starting", "Run the program under supervisord", True),
    ("12-waiting", "Ask the model a question", True),
    ("13-summary", "Write the summary", True),
]


@pytest.mark.parametrize(
    ("row", "task", "done"), chosen(ROWS, 1), ids=lambda value: str(value)[:14]
)
def test_died_while(case: Case, row: str, task: str, done: bool) -> None:
    """The run and the services die a moment after the task has begun."""
    box = case.box
    box.put_back("finished") if done else box.wipe()
    run = box.start(*(["--full"] if done else []))
    assert victims.wait_for_event(box, run, starts(task)), str(run)
    time.sleep(case.dice.uniform(0, 1))
    case.tell(f"{row}: dies in '{task}'")
    box.end_services()
    box.finish(run, 60)
    case.recover_somehow()


@pytest.mark.occasional
def test_choices_are_stored_before_anything_is_applied(case: Case) -> None:
    """Row 03: a run dies at its first task; the next one without flags has the same choices."""
    box = case.box
    box.put_back("finished")
    run = box.start("--context-tokens=2048")
    assert victims.wait_for_event(box, run, lambda event: True), str(run)
    victims.kill(run)
    victims.wait_until_gone(box)
    saved = json.loads((box.state_dir / "settings.json").read_text())
    assert saved["values"]["context_tokens"] == 2048
    done = box.install()
    assert done.code == 0, str(done)
    assert done.outcome["summary"]["model"]["context_tokens"] == 2048
    box.put_back("finished")


@pytest.mark.occasional
def test_killed_between_switch_and_proof(case: Case, origin: Origin) -> None:
    """Row 11: the engine has the new model and nobody has asked it yet; the next run proves it."""
    box = case.box
    box.put_back("finished")
    run = box.start(*origin.flags)
    assert victims.wait_for_event(box, run, starts("Ask the model a question")), str(run)
    victims.kill(run)
    victims.wait_until_gone(box)
    # Without flags: the choice of the model is state, and was saved.
    done = box.install()
    assert done.code == 0, str(done)
    fetched(case, origin)
    assert done.outcome["summary"]["model"]["sha256"] == origin.sha256
    box.put_back("finished")


@pytest.mark.occasional
def test_partial_of_another_revision(case: Case, origin: Origin, content: bytes) -> None:
    """Row 11: what was fetched of one revision is never joined with another of the same name."""
    box = case.box
    box.put_back("finished")
    run = box.start(*origin.flags)
    origin.wait(len(content) // 3)
    victims.kill(run)
    victims.wait_until_gone(box)
    other = content[: len(content) // 2] + bytes(len(content) - len(content) // 2)
    with Villain(other, b"", rate=20_000_000) as server:
        finish_and_rest(case, Origin.of(server), aside=origin)
    box.put_back("finished")
