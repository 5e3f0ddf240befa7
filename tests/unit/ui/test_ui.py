"""The listeners: the same events as lines, as JSON, as almost nothing, and on a terminal."""

import io
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from dream_runner import ui, wording
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.run import events
from dream_runner.ui import lines, live, plain

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
        "m.gguf: 42 % of 1 kB, 58 B/s, 10 s left",
        "warning: facts are old",
        "by the way",
        "done: Fetch the model (1 min 5 s)",
        "FAILED: Start the engine (2.0 s)",
    ]
    assert played(lambda stream: plain.PlainListener(stream, verbose=True)).splitlines() == [
        "[11/14] models: m.gguf: 42 % of 1 kB, 58 B/s, 10 s left",
        "warning: facts are old",
        "by the way",
        "[11/14] models: done, 1 change (1 min 5 s)",
        "[12/14] services: FAILED (2.0 s)",
    ]


def phase(name: str, state: str, why: str = "") -> events.PhaseFinished:
    return events.PhaseFinished(*HOST, name, state, int(state == "changed"), 2.0, why)


#: A second run: most of it is checks, and a setting was changed.
AGAIN = [
    phase("preflight", "ok", "changed: context_tokens"),
    phase("offline", "unchanged"),
    phase("models", "changed", "changed: context_tokens"),
    phase("services", "ok", "changed: context_tokens"),
    phase("health", "ok"),
    phase("summary", "ok"),
    events.RunFinished(*HOST, 60, 1, 0, 3, 0),
]


def test_what_had_nothing_to_do_is_one_line() -> None:
    stream = io.StringIO()
    listener = plain.PlainListener(stream)
    console = Console(file=io.StringIO(), width=40)
    shown = live.LiveListener(console)
    for event in AGAIN:
        listener.take(event)
        shown.take(event)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "done: Fetch the model (2.0 s)",
        "ok: The model answered (2.0 s)",
        "ok: 4 checks passed",
    ]
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "done Fetch the model",
        "ok   The model answered",
        "ok   4 checks passed",
    ]


def test_checks_before_a_failure_are_told_before_it() -> None:
    stream = io.StringIO()
    listener = plain.PlainListener(stream)
    for event in (*AGAIN[:2], phase("models", "failed"), AGAIN[-1]):
        listener.take(event)
    assert stream.getvalue().splitlines() == [
        "ok: 2 checks passed",
        "FAILED: Fetch the model (2.0 s)",
    ]


def test_every_phase_has_a_title() -> None:
    assert tuple(plain.TITLES) == PHASES
    assert max(map(len, plain.TITLES.values())) <= 28


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
    live.LiveListener(console, verbose=True).take(event)
    shown_live = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown_live == f"done [12/14] services: 1 change (2.0 s){shown}\n"


def test_plain_does_not_flood_a_log() -> None:
    stream = io.StringIO()
    listener = plain.PlainListener(stream)
    for done in range(0, 1001, 10):
        listener.take(events.Progress(*HOST, "models", "m", done, 1000, 1.0))
    assert len(stream.getvalue().splitlines()) == 2  # the first and the last


def test_plain_tells_of_each_thing_on_its_way_and_once_that_it_is_here() -> None:
    stream = io.StringIO()
    listener = plain.PlainListener(stream)
    for done in (1, 2, 1000, 1000, 3):
        for name in ("a", "b"):
            listener.take(events.Progress(*HOST, "images", name, done, 1000, 0.0))
    assert stream.getvalue().splitlines() == [
        "a: 0 % of 1 kB",
        "b: 0 % of 1 kB",
        "a: 100 % of 1 kB",
        "b: 100 % of 1 kB",
    ]


def test_quiet_says_warnings_only() -> None:
    assert played(plain.QuietListener) == "warning: facts are old\n"


def test_json_lines_can_be_parsed_back() -> None:
    parsed = [events.parse(json.loads(line)) for line in played(lines.JsonListener).splitlines()]
    assert parsed == STORY


@pytest.mark.parametrize(
    ("state", "wide", "narrow"),
    [
        ("ok", "ok   [12/14] services: nothing to change (2.0 s)",
         "ok   services: nothing to change"),
        ("changed", "done [12/14] services: 3 changes (2.0 s)", "done services: 3 changes"),
        ("failed", "FAIL [12/14] services: FAILED (2.0 s)", "FAIL services: FAILED"),
        ("unchanged", "ok   [12/14] services: skipped: up to date",
         "ok   services: skipped: up to date"),
    ],
)  # fmt: skip
def test_a_narrow_terminal_gets_fewer_words(state: str, wide: str, narrow: str) -> None:
    for width, expected in ((80, wide), (40, narrow)):
        console = Console(file=io.StringIO(), width=width)
        event = events.PhaseFinished(*HOST, "services", state, 3, 2.0, "")
        live.LiveListener(console, verbose=True).take(event)
        assert console.file.getvalue() == expected + "\n"  # type: ignore[attr-defined]
        assert len(expected) <= width


def drawn(*, width: int = 80, height: int = 24, story: Sequence[events.Event] = ()) -> list[str]:
    """Return the moving lines as a terminal of that size shows them."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True
    )
    listener = live.LiveListener(console)
    for event in story:
        listener.take(event)
    # What stands on the screen would be drawn once more below.
    listener.close()
    with console.capture() as captured:
        console.print(listener.draw())
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", captured.get()).splitlines()


def images(count: int, done: int) -> list[events.Event]:
    return [events.Progress(*HOST, "images", f"image-{n}", done, 1000, 100.0) for n in range(count)]


def test_all_that_is_on_its_way_has_a_line_each() -> None:
    story = [events.PhaseStarted(*HOST, "images"), *images(3, 420)]
    lines = drawn(story=story)
    for n in range(3):
        assert lines[n + 1].rstrip().endswith(f" 42 % of 1 kB, 100 B/s, 6 s left image-{n}")
    # What is here makes room for what is not.
    lines = drawn(story=[*story, *images(2, 1000)])
    assert "42 % of 1 kB, 100 B/s, 6 s left image-2" in lines[1]
    assert not [line for line in lines if "image-0" in line]


@pytest.mark.parametrize(("height", "shown"), [(4, 1), (8, 5), (60, 6)])
def test_a_crowd_does_not_fill_the_terminal(height: int, shown: int) -> None:
    lines = drawn(height=height, story=[events.PhaseStarted(*HOST, "images"), *images(9, 1)])
    assert len([line for line in lines if "image-" in line]) == shown
    assert [line for line in lines if f"and {9 - shown} more" in line]
    assert len(lines) < height


def test_the_figures_come_before_a_name_that_would_push_them_out() -> None:
    name = "a-model-with-a-very-long-name-q4_k_m.gguf"
    item = events.Progress(*HOST, "models", name, 420, 1000, 100.0, "stalled")
    lines = drawn(width=40, story=[events.PhaseStarted(*HOST, "models"), item])
    assert lines[0][1:] == " models (0 s): ..."
    assert lines[1].startswith("  42 % of 1 kB, 100 B/s, 6 s left")
    assert max(map(len, lines)) <= 40
    image = events.Progress(*HOST, "images", "ghcr.io/x/y/engine:1", 420, 1000, 100.0)
    assert drawn(width=80, story=[image])[1].rstrip().endswith(" left engine:1")
    assert drawn(width=120, story=[image])[1].rstrip().endswith(" left ghcr.io/x/y/engine:1")
    wide = drawn(width=80, story=[events.PhaseStarted(*HOST, "models"), item])
    assert " 42 % of 1 kB, 100 B/s, 6 s left a-model-with" in wide[1]
    assert len(wide[1].rstrip()) <= 80


def test_a_terminal_without_braille_has_a_plainer_spinner() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, width=80, force_terminal=True)
    assert live.LiveListener(console).spinner.name == "line"


@pytest.mark.parametrize("width", [20, 80, 200])
def test_live_on_a_terminal_of_any_width(width: int) -> None:
    def make(stream: Any) -> live.LiveListener:
        return live.LiveListener(Console(file=stream, force_terminal=True, width=width))

    shown = played(make)
    assert "Fetch the model" in shown
    assert "FAIL" in shown
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is given back


def test_live_shows_the_task_and_the_bytes() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    listener = live.LiveListener(console)
    for event in STORY[:3]:
        listener.take(event)
    with console.capture() as captured:
        console.print(listener.draw())
    listener.close()
    assert "[11/14] models (0 s): Fetch [the] model" in captured.get()
    assert "42 % of 1 kB, 58 B/s, 10 s left m.gguf" in captured.get()


def test_unknown_kind_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="fancy"):
        ui.make("fancy")


@pytest.mark.parametrize(
    ("kind", "json_result", "expected"),
    [
        ("auto", False, plain.PlainListener),
        ("auto", True, plain.QuietListener),
        ("plain", True, plain.PlainListener),
        ("rich", False, ui.LazyListener),
        ("json", False, lines.JsonListener),
    ],
)
def test_make(kind: str, json_result: bool, expected: type) -> None:
    made = ui.make(kind, json_result=json_result)
    assert isinstance(made, ui.Guarded)
    assert type(made.listener) is expected


@pytest.mark.parametrize(
    ("term", "variable", "json_result", "expected"),
    [
        ("xterm", "", False, "rich"),
        ("dumb", "", False, "plain"),
        ("", "", False, "plain"),
        ("xterm", "plain", False, "plain"),
        ("xterm", "quiet", False, "quiet"),
        ("xterm", "plain", True, "quiet"),
        ("dumb", "auto", False, "plain"),
    ],
)
def test_the_usual_way(
    term: str, variable: str, json_result: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    environment = {"TERM": term, "DREAM_UI": variable}
    assert ui.resolve("auto", environment, json_result=json_result) == expected
    assert ui.resolve("rich", environment, json_result=json_result) == "rich"


@pytest.mark.parametrize("kind", ["fancy", "json"])
def test_a_variable_that_cannot_be_meant_is_a_usage_error(kind: str) -> None:
    with pytest.raises(UsageError, match=kind) as caught:
        ui.resolve("auto", {"DREAM_UI": kind}, json_result=False)
    assert caught.value.where == "DREAM_UI"


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_loaded_to_say_a_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    made: list[str] = []

    def make() -> ui.Listener:
        made.append("one")
        return plain.PlainListener(stream)

    listener = ui.LazyListener(make)
    listener.note("Looking ...")
    listener.close()
    assert (stream.getvalue(), made) == ("Looking ...\n", [])
    listener.note("odd", "warning")
    listener.take(STORY[-1])
    assert made == ["one"]
    assert "warning: odd\n" in stream.getvalue()


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
    assert wording.size(count) == words


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
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("done", "total", "words"),
    [(0, 10, "0 %"), (999, 1000, "99 %"), (10, 10, "100 %"), (5, 0, "?")],
)
def test_percent_is_a_hundred_only_at_the_end(done: int, total: int, words: str) -> None:
    assert wording.percent(done, total) == words


@pytest.mark.parametrize(
    ("line", "width", "folded"),
    [
        ("short", 20, "short"),
        ("Disk:        about 514 MB on / (the model 60 MB)", 34,
         "Disk:        about 514 MB on /\n             (the model 60 MB)"),
        ("  voice  no  default: the native profile has no engine", 30,
         "  voice  no  default: the\n             native profile\n             has no engine"),
        ("nothing but words that go on", 16, "nothing but\n  words that go\n  on"),
        # A path, a digest: broken, it could not be copied.
        ("  where  /a/path/that/is/longer/than/the/line", 24,
         "  where  /a/path/that/is/longer/than/the/line"),
    ],
)  # fmt: skip
def test_a_long_line_goes_on_below_its_last_column(line: str, width: int, folded: str) -> None:
    assert wording.fold(f"{line}\nnext", width) == f"{folded}\nnext"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.01, "1 s"), (59.01, "1 min 0 s"), (61.2, "1 min 2 s")]
)
def test_what_is_left_is_said_in_whole_seconds(seconds: float, words: str) -> None:
    assert wording.countdown(seconds) == words
