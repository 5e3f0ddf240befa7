"""What is seen of a fleet run."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from dream_runner.fleet.view import Guarded, Json, Plain, Quiet, Rich, View, cells, make
from dream_runner.module_utils.dream_core.errors import DiskError, UsageError
from dream_runner.run.events import Notice, PhaseFinished, PhaseStarted, Progress, TaskStarted
from dream_runner.run.results import HostResult

FULL = DiskError("no space", code="DISK_FULL")
PROGRESS = Progress(0.0, "a", "models", "m.gguf", 250, 1000, 50.0)


def play(view: View) -> None:
    view.note("canary: 1 of 2 hosts")
    view.begin("a")
    view.take(PhaseStarted(0.0, "a", "models"))
    view.take(TaskStarted(0.0, "a", "models", "models : Fetch the model"))
    view.take(PROGRESS)
    view.take(PhaseFinished(0.0, "a", "models", "changed", 1, 2.0))
    view.take(Notice(0.0, "a", "warning", "odd"))
    view.end(HostResult("a", "done", "canary", None, 3, 9, 65.0))
    view.begin("b")
    view.end(HostResult("b", "failed", "wave 1", FULL))
    view.close()


def test_lines() -> None:
    stream = io.StringIO()
    play(Plain(stream))
    assert stream.getvalue().splitlines() == [
        "canary: 1 of 2 hosts",
        "a: started",
        "a: m.gguf: 25 % of 1 kB, 50 B/s, 15 s left",
        "a: [11/14] models: changed (2.0 s)",
        "warning: a: odd",
        "a: done, 3 changes (1 min 5 s)",
        "b: started",
        "b: failed: DISK_FULL: no space",
    ]


def test_quiet_says_what_is_bad() -> None:
    stream = io.StringIO()
    play(Quiet(stream))
    assert stream.getvalue() == "warning: a: odd\nb: failed: DISK_FULL: no space\n"


def test_json_lines() -> None:
    stream = io.StringIO()
    play(Json(stream))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    ended = [line for line in lines if line["type"] == "host_finished"]
    assert [(line["host"], line["state"]) for line in ended] == [("a", "done"), ("b", "failed")]


def test_the_table_has_a_row_for_each_host_at_work() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    view = Rich(console)
    view.begin("a")
    view.begin("b[red]")
    view.take(PhaseStarted(0.0, "a", "models"))
    view.take(PROGRESS)
    with console.capture() as capture:
        console.print(view.draw())
    view.close()
    text = capture.get()
    assert "b[red]" in text
    assert "25 % of 1 kB" in text
    assert "2 running" in text
    assert cells("a", "models", "", PROGRESS)[-1] == "15.0 s"


def test_a_view_that_breaks_falls_silent() -> None:
    stream = io.StringIO()
    stream.close()
    play(Guarded(Plain(stream)))


def test_an_unknown_way_to_show_is_refused() -> None:
    with pytest.raises(UsageError):
        make("loud")
