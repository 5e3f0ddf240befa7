"""The listeners: the same events as lines, as JSON, as almost nothing, and on a terminal."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from dream_runner import events, ui
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.ui import lines, live, plain, text

HOST = (1.0, "localhost")
STORY = [
    events.PhaseStarted(*HOST, "models"),
    events.TaskStarted(*HOST, "models", "models : Fetch [the] model"),
    events.Progress(*HOST, "models", "m.gguf", 420, 1000, 58.0),
    events.Notice(*HOST, "warning", "facts are old"),
    events.Notice(*HOST, "info", "by the way"),
    events.TaskFinished(*HOST, "models", "Fetch [the] model", "changed", 1.0),
    events.PhaseFinished(*HOST, "models", "changed", 1, 65.4),
    events.PhaseFinished(*HOST, "services", "failed", 0, 2.0),
]


def played(make: Any) -> str:
    stream = io.StringIO()
    listener = make(stream)
    for event in STORY:
        listener.take(event)
    listener.close()
    return stream.getvalue()


def test_plain() -> None:
    assert played(plain.PlainListener).splitlines() == [
        "[11/14] models: m.gguf: 42 % of 1 kB, 58 B/s, 10.0 s left",
        "warning: facts are old",
        "by the way",
        "[11/14] models: done, 1 change (1 min 5 s)",
        "[12/14] services: FAILED (2.0 s)",
    ]


@pytest.mark.parametrize(
    ("why", "shown"),
    [
        ("never ran", ""),
        ("asked for", ""),
        ("follows: images", ""),
        ("differs: /srv/[red].env: missing", "; differs: /srv/[red].env: missing"),
        ("interrupted", "; interrupted"),
    ],
)
def test_a_phase_that_ran_again_says_why(why: str, shown: str) -> None:
    event = events.PhaseFinished(*HOST, "services", "changed", 1, 2.0, why)
    assert plain.outcome(event) == f"done, 1 change (2.0 s){shown}"
    console = Console(file=io.StringIO(), width=120)
    live.LiveListener(console).take(event)
    assert plain.outcome(event) in console.file.getvalue()  # type: ignore[attr-defined]


def test_plain_does_not_flood_a_log() -> None:
    stream = io.StringIO()
    listener = plain.PlainListener(stream)
    for done in range(0, 1001, 10):
        listener.take(events.Progress(*HOST, "models", "m", done, 1000, 1.0))
    assert len(stream.getvalue().splitlines()) == 2  # the first and the last


def test_quiet_says_warnings_only() -> None:
    assert played(plain.QuietListener) == "warning: facts are old\n"


def test_json_lines_can_be_parsed_back() -> None:
    parsed = [events.parse(json.loads(line)) for line in played(lines.JsonListener).splitlines()]
    assert parsed == STORY


@pytest.mark.parametrize("width", [20, 80, 200])
def test_live_on_a_terminal_of_any_width(width: int) -> None:
    def make(stream: Any) -> live.LiveListener:
        return live.LiveListener(Console(file=stream, force_terminal=True, width=width))

    shown = played(make)
    assert "models" in shown
    assert "FAIL" in shown
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is given back


def test_live_shows_the_task_and_the_bytes() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    listener = live.LiveListener(console)
    for event in STORY[:3]:
        listener.take(event)
    with console.capture() as captured:
        console.print(listener._draw())
    listener.close()
    assert "[11/14] models: Fetch [the] model" in captured.get()
    assert "m.gguf: 42 % of 1 kB" in captured.get()


def test_unknown_kind_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="fancy"):
        ui.make("fancy")


@pytest.mark.parametrize(
    ("kind", "json_result", "expected"),
    [
        ("auto", False, plain.PlainListener),
        ("auto", True, plain.QuietListener),
        ("plain", True, plain.PlainListener),
        ("rich", False, live.LiveListener),
        ("json", False, lines.JsonListener),
    ],
)
def test_make(kind: str, json_result: bool, expected: type) -> None:
    made = ui.make(kind, json_result=json_result)
    assert isinstance(made, ui.Guarded)
    assert type(made._listener) is expected


def test_a_terminal_that_has_gone_does_not_end_a_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    for make in (plain.PlainListener, lines.JsonListener):
        listener = ui.Guarded(make(Gone()))
        for event in STORY:
            listener.take(event)
        listener.close()


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (517504, "518 kB"),
        (18_600_000_000, "18.6 GB"),
        (999_999_999, "1.0 GB"),
        (250_000_000_000, "250 GB"),
    ],
)
def test_size(count: int, words: str) -> None:
    assert text.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7440, "2 h 4 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("done", "total", "words"),
    [(0, 10, "0 %"), (999, 1000, "99 %"), (10, 10, "100 %"), (5, 0, "?")],
)
def test_percent_is_a_hundred_only_at_the_end(done: int, total: int, words: str) -> None:
    assert text.percent(done, total) == words
