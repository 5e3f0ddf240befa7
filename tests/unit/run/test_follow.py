"""Events go to the journal first, then to the screen; Ctrl-C is announced at once."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dream_runner.commands import install
from dream_runner.run import events
from dream_runner.run.processes import ctrl_c
from dream_runner.run.request import Request, Result

HOST = (1.0, "localhost")


class Screen:
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[events.Event] = []
        self.notes: list[str] = []

    def take(self, event: events.Event) -> None:
        self.shown.append(event)

    def note(self, text: str, level: str = "info") -> None:
        self.notes.append(text)

    def close(self) -> None: ...


@pytest.fixture
def request_of(tmp_path: Path) -> Request:
    return Request(playbook="install", variables={}, run_id="r", run_dir=tmp_path / "r")


def playing(*story: events.Event) -> Callable[..., Result]:
    def execute(request: Request, on_event: Callable[[events.Event], None]) -> Result:
        for event in story:
            on_event(event)
        return Result(rc=0, interrupted=False, error=None)

    return execute


def test_what_was_said_is_not_said_again(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = events.Notice(*HOST, "warning", "facts are old")
    new = events.Notice(*HOST, "warning", "disk is slow")
    monkeypatch.setattr(install, "execute", playing(old, new))
    screen = Screen()
    install.follow(request_of, screen, said=("facts are old",))
    assert screen.shown == [new]
    assert len((request_of.run_dir / "events.jsonl").read_text().splitlines()) == 2


def test_a_journal_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(install, "execute", playing())
    request = Request(playbook="x", variables={}, run_id="r", run_dir=tmp_path / "file" / "r")
    screen = Screen()
    assert install.follow(request, screen).rc == 0
    assert len(screen.notes) == 1


def test_signals_are_announced_while_somebody_else_handles_them() -> None:
    said: list[str] = []
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with ctrl_c.announced(said.append):
            for count in (1, 2):
                os.kill(os.getpid(), signal.SIGINT)
                deadline = time.monotonic() + 5
                while len(said) < count and time.monotonic() < deadline:
                    time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [line.split(".")[0] for line in said] == ["Stopping", "Stopping at once"]


def test_ctrl_c_outside_a_run_is_ours_and_an_ignored_one_stays_ignored() -> None:
    # A background job of a shell, as CI may be, starts with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(ctrl_c.Stopped), ctrl_c.raising():
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with ctrl_c.raising():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
