"""The report: true to the journal, alone in one file, harmless whatever a journal holds."""

import html.parser
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import report
from dream_runner.module_utils.dream_core.errors import EngineError, UsageError
from dream_runner.report import charts, page, read, record
from dream_runner.report.read import Transfer
from dream_runner.run.events import (
    PhaseFinished,
    PhaseStarted,
    Progress,
    TaskFinished,
    TaskStarted,
)
from dream_runner.run.journal import Journal
from unit.report import samples
from unit.report.samples import BEGAN, CHOICE, FACTS, STEPS


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def shown(folder: Path) -> str:
    return page.render(read.read(folder))


class Elements(html.parser.HTMLParser):
    """Collects every element with its attributes, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_stands_alone(text: str) -> None:
    """Assert that nothing is loaded and nothing is run."""
    for tag, attributes in Elements(text).found:
        assert tag not in ("script", "img", "link", "iframe", "object", "embed", "base", "form")
        assert not {"src", "href", "srcset", "background"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)


def test_a_good_run(tmp_path: Path) -> None:
    text = shown(samples.one(tmp_path / "run"))
    assert_stands_alone(text)
    for words in ("atlas", "done", "18.6 GB", "nvidia_24gb", "NVIDIA RTX 4090", "Secure Boot"):
        assert words in text
    assert "What failed" not in text
    assert text.count("as planned") == 14


def test_a_failed_run_says_what_where_and_hint(tmp_path: Path) -> None:
    text = shown(samples.one(tmp_path / "run", fails_in="images"))
    assert "NETWORK_FAILED" in text
    assert "connection reset by peer" in text
    assert "Hint: check the connection" in text
    assert text.count("not reached") >= 3


def test_a_killed_run_has_a_report_too(tmp_path: Path) -> None:
    folder = samples.one(tmp_path / "run", stops_in="models")
    with (folder / "events.jsonl").open("a") as journal:
        journal.write('{"type": "task_finished", "time": 17')
    run = read.read(folder)
    assert page.state_of(run) == "no end recorded"
    assert run.hosts[0].phases["models"].state == "interrupted"
    assert "it was killed" in page.render(run)


def test_a_run_that_had_nothing_to_do(tmp_path: Path) -> None:
    record.planned(tmp_path, FACTS, CHOICE, STEPS)
    with Journal(tmp_path) as journal:
        for step in STEPS:
            journal.take(PhaseFinished(BEGAN, "localhost", step.phase, "unchanged", 0, 0.0, "x"))
    record.ended(tmp_path, "install", {"outcome": "done", "exit_code": 0, "seconds": 0.4})
    text = shown(tmp_path)
    assert "everything is up to date" in text
    assert "unchanged" in text


def test_a_fleet_of_hundreds_stays_readable(tmp_path: Path) -> None:
    text = shown(samples.fleet(tmp_path / "run", 201))
    assert_stands_alone(text)
    assert len(text) < 600_000
    run = read.read(tmp_path / "run")
    lines = page.content(run)["timelines"]
    assert [line.title for line in lines] == ["failed", "done", "unchanged", "untouched"]
    assert [line.is_folded for line in lines] == [False, True, False, False]
    # All reset connections are one failure, whatever the attempt.
    failed = [host.name for host in run.hosts if host.result.state == "failed"]
    assert [list(group.hosts) for group in page.content(run)["failures"]] == [failed]


def test_a_long_timeline_comes_in_pieces_that_fit_a_sheet(tmp_path: Path) -> None:
    run = read.read(samples.fleet(tmp_path / "run", 201))
    for line in page.content(run)["timelines"]:
        assert [row for part in line.parts for row in part] == list(line.rows)
        assert all(len(part) * line.height <= 800 for part in line.parts)
    text = page.render(run)
    pieces = sum(len(line.parts) for line in page.content(run)["timelines"])
    assert text.count('class="timeline') == pieces > 3
    assert '<body class="fleet">' in text


HOSTILE = '</title></style><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7*7 }}\'"`'


def test_hostile_content_is_text(tmp_path: Path) -> None:
    facts = json.loads(json.dumps(FACTS))
    facts["os"]["pretty_name"] = facts["gpus"][0]["name"] = HOSTILE
    facts["findings"][0].update(what=HOSTILE, hint=HOSTILE, severity=HOSTILE)
    choice: dict[str, Any] = {"tier": dict.fromkeys(("name", "rule", "reason"), HOSTILE)}
    choice["model"] = {"name": HOSTILE, "why": HOSTILE}
    for is_fleet in (False, True):
        top = tmp_path / f"{is_fleet}{HOSTILE.replace('/', '_')}"
        folder = top / "hosts" / HOSTILE.replace("/", "_") if is_fleet else top
        record.planned(folder, facts, choice, STEPS, host=HOSTILE)
        error = EngineError(HOSTILE, code=HOSTILE, where=HOSTILE, hint=HOSTILE)
        with Journal(folder) as journal:
            for event in (
                PhaseStarted(1.0, HOSTILE, HOSTILE),
                TaskStarted(1.0, HOSTILE, HOSTILE, HOSTILE),
                Progress(1.0, HOSTILE, HOSTILE, HOSTILE, 1, 5, 1.0, HOSTILE),
                Progress(2.0, HOSTILE, HOSTILE, HOSTILE, 5, 5, 1.0, HOSTILE),
                TaskFinished(
                    3.0, HOSTILE, HOSTILE, HOSTILE, "failed", 2.0, HOSTILE, HOSTILE, error
                ),
                PhaseFinished(4.0, HOSTILE, HOSTILE, HOSTILE, 1, 3.0, HOSTILE),
                samples.notice(HOSTILE, HOSTILE),
            ):
                journal.take(event)
        if is_fleet:
            row = {"host": HOSTILE, "state": "failed", "stage": HOSTILE, "error": error.to_dict()}
            document = {"verb": HOSTILE, "outcome": HOSTILE, "stopped": HOSTILE, "hosts": [row]}
            (top / "report.json").write_text(json.dumps(document))
        else:
            record.ended(top, HOSTILE, {"outcome": HOSTILE, "error": error.to_dict()})
        text = shown(top)
        assert "&lt;script&gt;alert(1)" in text
        assert "{{ 7*7 }}" in text
        assert_stands_alone(text)


def test_damaged_files_are_misses(tmp_path: Path) -> None:
    folder = samples.one(tmp_path / "run")
    lines = [
        '{"type": "progress", "time": "x", "host": 3, "done": "many"}',
        "[]",
        "null",
        "\x00\xff",
    ]
    with (folder / "events.jsonl").open("a", encoding="latin-1") as journal:
        journal.write("\n".join(lines))
    (folder / "report.json").write_text('{"outcome": 3, "error": [], "seconds": "long", "hosts')
    (folder / "plan.json").write_text('{"facts": [1], "steps": 7, "tier": "x", "choices": {}}')
    assert "no end recorded" in shown(folder)


def test_no_secret_of_the_choice_is_left(tmp_path: Path) -> None:
    folder = samples.one(tmp_path / "run")
    left = "".join(path.read_text() for path in folder.iterdir())
    assert "hunter2" not in left
    assert "secret-mount" not in left
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_what_cannot_be_left_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    record.ended(tmp_path / "run", "install", {})


# --- the command ------------------------------------------------------------------------


def state_of(tmp_path: Path) -> Path:
    samples.one(tmp_path / "runs" / "20260101T100000-aaaaaa")
    samples.fleet(tmp_path / "fleet" / "runs" / "20260102T100000-bbbbbb", 3)
    look = tmp_path / "fleet" / "runs" / "20260103T100000-cccccc"
    with Journal(look) as journal:
        journal.take(samples.notice("info", "only a look"))
    return tmp_path


def test_the_newest_run_is_taken_or_the_one_that_begins_so(tmp_path: Path) -> None:
    state_dir = str(state_of(tmp_path))
    written = report.run(state_dir, "", "")
    assert written.run_id == "20260102T100000-bbbbbb"
    assert Path(written.path).stat().st_mode & 0o777 == 0o600
    written = report.run(state_dir, "20260101", str(tmp_path / "mine.html"))
    assert (written.run_id, written.path) == ("20260101T100000-aaaaaa", str(tmp_path / "mine.html"))


@pytest.mark.parametrize("wanted", ["2026", "1999", "../.."])
def test_an_unknown_run_names_the_newest(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        report.run(str(state_of(tmp_path)), wanted, "")
    assert caught.value.code == "RUN_UNKNOWN"
    assert "bbbbbb" in caught.value.hint


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        report.run(str(tmp_path), "", "")


# --- shapes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "last"), [(0.0, "0.1 s"), (7.0, "7 s"), (110, "1:40 min"), (9000, "2:30 h")]
)
def test_ticks_are_round(seconds: float, last: str) -> None:
    ticks = charts.Scale(100.0, 100.0 + seconds).ticks()
    assert ticks[0] == (0.0, "0")
    assert ticks[-1][1] == last
    assert len(ticks) <= 10


def test_rates_add_up_to_the_bytes() -> None:
    items = [Transfer("a", "x", 100, [(0.0, 0), (10.0, 100)]), Transfer("b", "x", 100, [(5.0, 50)])]
    curve = charts.of_rates(items)
    assert curve is not None
    assert curve.top == 10.0
    assert charts.of_rates([items[1]]) is None


# --- what do I have now ------------------------------------------------------------------

ACCESS = {
    "chat": "http://127.0.0.1:11434/",
    "api": "http://127.0.0.1:11434/v1",
    "model": "small",
    "bind_address": "127.0.0.1",
    "lan": [],
    "guard": "none",
    "key": None,
    "port_notes": [],
}


def test_the_head_says_how_it_is_reached(tmp_path: Path) -> None:
    folder = samples.one(tmp_path / "run")
    told = json.loads((folder / record.REPORT).read_text())
    (folder / record.REPORT).write_text(json.dumps(told | {"summary": {"access": ACCESS}}))
    text = shown(folder)
    assert_stands_alone(text)
    head = text[: text.index('class="tiles"')]
    for words in ("Chat in your browser", "http://127.0.0.1:11434/", "(model: small)"):
        assert words in head
    # What changed comes before the timeline, what is as it was is folded.
    order = [text.index(f'id="{name}"') for name in ("changes", "timeline", "plan", "facts")]
    assert order == sorted(order)
    assert "Fetch the model" in text[order[0] : order[1]]
    assert "checks passed</summary>" in text


@pytest.mark.parametrize("access", [[], "x", {"chat": 1}, {**ACCESS, "lan": 7, "key": "k"}])
def test_a_damaged_summary_makes_the_head_poorer(tmp_path: Path, access: Any) -> None:
    folder = samples.one(tmp_path / "run")
    told = json.loads((folder / record.REPORT).read_text())
    (folder / record.REPORT).write_text(json.dumps(told | {"summary": {"access": access}}))
    assert "dream-runner install" in shown(folder)


def heard(*events: Progress, downloads: Any = ()) -> Transfer:
    plan = {"downloads": list(downloads)}
    host = read.ReportedHost("h", read.HostResult("h", "done"), plan)
    for event in (PhaseStarted(BEGAN, "h", "models"), *events):
        host.take(event)
    return host.transfers["m.gguf"]


def report_of(done: int, total: int = 98_400_000, note: str = "") -> Progress:
    return Progress(BEGAN + 1 + done / 1e8, "h", "models", "m.gguf", done, total, 0.0, note)


@pytest.mark.parametrize(
    ("events", "downloads", "moved"),
    [
        # The first report came when 30 MB were there already.
        ([report_of(30_400_000), report_of(98_400_000)], [], 98_400_000),
        # 40 MB were there from an earlier run.
        (
            [report_of(50_000_000), report_of(98_400_000)],
            [{"what": "m.gguf", "present_bytes": 40_000_000}],
            58_400_000,
        ),
        # So quick that only its end was heard.
        ([report_of(98_400_000)], [], 98_400_000),
        ([report_of(98_400_000, note="checking the sha256")], [], 0),
        (
            [report_of(98_400_000, note="checking the sha256")],
            [{"what": "m.gguf", "present_bytes": 0}],
            98_400_000,
        ),
        # Interrupted after one report.
        ([report_of(30_000_000)], [{"what": "m.gguf", "present_bytes": "x"}], 30_000_000),
    ],
)
def test_what_was_fetched_is_counted_from_the_start(
    events: list[Progress], downloads: list[Any], moved: int
) -> None:
    assert page.moved_bytes(heard(*events, downloads=downloads)) == moved


def test_few_samples_draw_no_chart(tmp_path: Path) -> None:
    record.planned(tmp_path, FACTS, CHOICE, STEPS)
    with Journal(tmp_path) as journal:
        journal.take(PhaseStarted(BEGAN, "localhost", "models"))
        journal.take(report_of(98_400_000))
    content = page.content(read.read(tmp_path))
    assert content["curve"] is None
    assert ("downloaded", "98.4 MB") in content["tiles"]


def test_names_of_tasks_are_for_people(tmp_path: Path) -> None:
    record.planned(tmp_path, FACTS, CHOICE, STEPS)
    names = ("Start the engine (needed: True)", "Record that the phase is done")
    with Journal(tmp_path) as journal:
        journal.take(PhaseStarted(BEGAN, "localhost", "services"))
        for name in names:
            task = TaskFinished(BEGAN + 2, "localhost", "services", name, "ok", 1.0)
            journal.take(task)
    slowest = page.content(read.read(tmp_path))["slowest"]
    assert [task.name for _, task, _ in slowest] == ["Start the engine"]
