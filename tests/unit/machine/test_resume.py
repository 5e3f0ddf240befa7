"""Whether there is something to continue, how it is said, and what each answer does."""

from collections.abc import Sequence
from typing import Any

import pytest

from dream_runner.machine import resume
from dream_runner.machine.resume import Before, Wish
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.phases import PHASES

HERE = "/srv/dream"


def receipts(upto: str, state: str, install_dir: str = HERE) -> dict[str, Any]:
    """Return receipts of all phases before ``upto`` as done and of it as ``state``."""
    found = {}
    for number, phase in enumerate(PHASES):
        found[phase] = {"state": "done", "install_dir": install_dir, "started_at": f"{number:02d}"}
        if phase == upto:
            found[phase]["state"] = state
            break
    if state == "absent":
        del found[upto]
    return found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, Before("absent")),
        ({"models": {"state": "removed", "install_dir": HERE}}, Before("absent")),
        (receipts("summary", "done"), Before("finished", HERE)),
        (receipts("models", "running"), Before("interrupted", HERE, "models", begun=True)),
        (receipts("models", "failed"), Before("failed", HERE, "models", begun=True)),
        (receipts("models", "absent"), Before("interrupted", HERE, "models")),
    ],
)
def test_read(found: dict[str, Any], expected: Before) -> None:
    assert resume.read(found) == expected


@pytest.mark.parametrize(
    ("before", "progress", "sentence"),
    [
        (
            Before("interrupted", HERE, "models", begun=True),
            (7_812_000_000, 18_600_000_000),
            "An install in /srv/dream stopped in phase 11 of 14 (models), 42 % of 18.6 GB.",
        ),
        (
            Before("interrupted", HERE, "offline"),
            (1000, 1000),
            "An install in /srv/dream stopped before phase 9 of 14 (offline).",
        ),
        (
            Before("failed", HERE, "requirements", begun=True),
            (0, 0),
            "An install in /srv/dream failed in phase 4 of 14 (requirements).",
        ),
    ],
)
def test_sentence(before: Before, progress: tuple[int, int], sentence: str) -> None:
    assert resume.sentence(before, *progress) == sentence


STOPPED = Before("interrupted", HERE, "models", begun=True)
ABSENT, FINISHED = Before("absent"), Before("finished", HERE)


class Person:
    """Answers questions in turn; None is nobody."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.told: list[str] = []

    def ask(self, question: str, answers: Sequence[str], default: str) -> str | None:
        self.asked.append(question)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("before", "wish", "answers", "fresh", "asked"),
    [
        pytest.param(ABSENT, Wish(), [], False, 0, id="nothing there asks nothing"),
        pytest.param(
            FINISHED, Wish(), [], False, 0, id="finished is checked without this question"
        ),
        pytest.param(STOPPED, Wish(), ["y"], False, 1, id="yes continues"),
        pytest.param(STOPPED, Wish(), ["n"], True, 1, id="no begins anew"),
        pytest.param(STOPPED, Wish(), ["explain", "y"], False, 2, id="explain asks again"),
        pytest.param(STOPPED, Wish(), ["explain", "explain", "n"], True, 3, id="explain twice"),
        pytest.param(STOPPED, Wish(), [None], True, 1, id="nobody there begins anew"),
        pytest.param(STOPPED, Wish(yes=True), [], True, 0, id="--yes never resumes silently"),
        pytest.param(STOPPED, Wish(yes=True, resume=True), [], False, 0, id="--yes --resume"),
        pytest.param(STOPPED, Wish(resume=True), [], False, 0, id="--resume asks nothing"),
        pytest.param(STOPPED, Wish(fresh=True), [], True, 0, id="--fresh asks nothing"),
        pytest.param(STOPPED, Wish(force=True), [], True, 0, id="--force asks nothing"),
        pytest.param(FINISHED, Wish(fresh=True), [], True, 0, id="--fresh of a finished one"),
        pytest.param(ABSENT, Wish(resume=True), [], False, 0, id="--resume with nothing there"),
    ],
)
def test_begin(
    before: Before, wish: Wish, answers: list[str | None], fresh: bool, asked: int
) -> None:
    person = Person(*answers)
    start = resume.begin(before, HERE, wish, person.ask, person.told.append, "It stopped.")
    assert start.fresh is fresh
    assert len(person.asked) == asked
    assert start.asked == bool(answers and answers[-1] == "y")
    assert len(person.told) == answers.count("explain")


def test_beginning_anew_unasked_is_said() -> None:
    start = resume.begin(STOPPED, HERE, Wish(), Person(None).ask, print, "It stopped.")
    assert start.notes[0] == "It stopped."
    assert "--resume" in start.notes[1]


@pytest.mark.parametrize("before", [FINISHED, STOPPED])
def test_another_directory_is_one_line(before: Before) -> None:
    start = resume.begin(before, "/other", Wish(), Person().ask, print, "")
    assert start.fresh
    assert len(start.notes) == 1
    assert HERE in start.notes[0]


def test_a_second_install_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        resume.refuse_second(FINISHED, "/other", force=False)
    assert caught.value.code == "INSTALLED_ELSEWHERE"
    assert caught.value.exit_code == 2
    assert HERE in caught.value.what


@pytest.mark.parametrize(
    ("before", "install_dir", "force"),
    [(FINISHED, "/other", True), (FINISHED, HERE, False), (STOPPED, "/other", False)],
)
def test_not_refused(before: Before, install_dir: str, force: bool) -> None:
    resume.refuse_second(before, install_dir, force)
