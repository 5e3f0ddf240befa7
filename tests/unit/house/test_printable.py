"""Text from outside reaches a terminal, a log and a page only as visible characters."""

import ast
import io
import json
import os
import sys
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dream_runner import paths
from dream_runner.cli import app
from dream_runner.diagnose import support_archive
from dream_runner.fleet import view
from dream_runner.module_utils.dream_core.printable import guard, line, printable
from dream_runner.module_utils.dream_core.upgrade import upgrader
from dream_runner.report import page, read
from dream_runner.run.events import Notice, Progress, TaskStarted
from dream_runner.run.processes import log_file
from dream_runner.ui import console, lines, live, plain, terminal
from unit.report import samples

#: What each does to a terminal or an editor: title, colour, bell, backspace, return, one-byte CSI,
#: right-to-left override, isolate, zero width, line and paragraph separator, tag, half a pair.
EVIL = "\x1b]0;t\x07\x1b[31m\x08\r\x9b2J\u202e\u2066\u200b\u2028\u2029\x85\U000e0041\udc80"
SHOWN = (
    r"\u001b]0;t\u0007\u001b[31m\u0008\u000d\u009b2J"
    r"\u202e\u2066\u200b\u2028\u2029\u0085\udb40\udc41\udc80"
)


def controls(text: str) -> list[str]:
    """Return the characters that do something; colours of our own are removed first."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return [char for char in text if char not in "\n\t" and unicodedata.category(char) in kinds]


def test_what_does_something_is_escaped_and_the_rest_is_kept() -> None:
    assert printable(f"a{EVIL}b") == f"a{SHOWN}b"
    assert json.loads(f'"{printable(EVIL)}"') == EVIL
    kept = "Grüße, 日本語, 1 234 €, e\u0301\n\ttab, \\u001b {{ x }}"
    assert printable(kept) == kept
    assert line("a\x1b\nb" + "x" * 400) == "a  b" + "x" * 296


@pytest.mark.parametrize(
    "words",
    [
        ["install", "--tier", EVIL],
        ["install", "--answers", f"/nowhere/{EVIL}"],
        ["fetch", EVIL, "--sha256", "0" * 64, "-o", "/nowhere/x"],
        ["fleet", "plan", "-i", f"{EVIL},"],
        ["facts", "--from-capture", f"/nowhere/{EVIL}"],
        [EVIL],
        [f"--{EVIL}"],
        ["bundle", "verify", f"/nowhere/{EVIL}"],
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_line_is_told_back_escaped(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    form: list[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert app.main([*words, *form]) != 0
    out, err = capsys.readouterr()
    assert controls(out + err) == []
    assert r"\u202e" in err


def answers(content: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        path = folder / "answers.yml"
        path.write_text(content)
        return ["install", "--dry-run", "--answers", str(path)]

    return write


KEY = yaml.safe_dump({EVIL.replace("\udc80", ""): 1})


@pytest.mark.parametrize(
    "write",
    [answers(KEY), answers(yaml.safe_dump({"tier": "\x1b[2J\u202e"})), answers("\x1b: [")],
    ids=["key", "value", "syntax"],
)
def test_a_file_is_told_back_escaped(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    write: Callable[[Path], list[str]],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert app.main(write(tmp_path)) == 2
    out, err = capsys.readouterr()
    assert controls(out + err) == []


def test_events_of_a_host_are_shown_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    guard()
    listeners = [
        plain.PlainListener(sys.stderr),
        live.LiveListener(),
        lines.JsonListener(sys.stdout),
    ]
    for listener in listeners:
        listener.take(TaskStarted(1.0, EVIL, "models", EVIL))
        listener.take(Progress(1.0, EVIL, "models", EVIL, 1, 2, 3.0, EVIL))
        listener.take(Notice(1.0, EVIL, "warning", EVIL))
        listener.close()
    for shown in (view.Plain(sys.stderr), view.Rich(), view.Json(sys.stdout)):
        shown.begin(EVIL)
        shown.take(Progress(1.0, EVIL, "models", EVIL, 1, 2, 3.0, EVIL))
        shown.take(Notice(1.0, EVIL, "warning", EVIL))
        shown.close()
    out, err = capsys.readouterr()
    assert controls(out + err) == []
    assert json.loads(out.splitlines()[0])["host"] == EVIL


def test_a_coloured_console_keeps_its_own_colours_only() -> None:
    stream = io.StringIO()
    shown = console.Console(file=stream, force_terminal=True, width=200, highlight=False)
    shown.print(f"[red]a{EVIL}b[/]")
    assert stream.getvalue().startswith("\x1b[31ma")
    assert "\x1b[31m\\u0008" not in stream.getvalue()
    assert controls(stream.getvalue().replace("\x1b[31m", "").replace("\x1b[0m", "")) == []


def test_only_one_place_makes_a_console() -> None:
    made = []
    for path in sorted(paths.PACKAGE.rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.Call) and ast.unparse(item.func).endswith("Console"):
                made.append(path.name)
    assert set(made) == {"console.py"}


def test_the_log_of_a_run_has_no_controls_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with log_file.opened(path) as stream:
        stream.write(b"fatal: [host]: \x1b[2J\xff\xc2\x9b \xe2\x80\xae token=PLANTED-VALUE\n")
        stream.write(b"x" * 200_000 + b"\nlast")
    text = path.read_text()
    assert controls(text) == []
    assert r"\u001b[2J" in text
    assert "PLANTED" not in text
    assert text.endswith("x\nlast")


def test_a_log_whose_pipe_is_held_by_somebody_does_not_stop_the_run(
    tmp_path: Path,
) -> None:
    with log_file.opened(tmp_path / "log.txt", wait_seconds=0.1) as stream:
        copy = os.dup(stream.fileno())
        stream.write(b"told\n")
    assert (tmp_path / "log.txt").read_text() == "told\n"
    os.close(copy)


def test_a_page_shows_what_a_host_said_escaped(tmp_path: Path) -> None:
    folder = samples.one(tmp_path, fails_in="images", extra=(samples.notice("warning", EVIL),))
    text = page.render(read.read(folder))
    assert controls(text) == []
    assert r"\u202e\u2066" in text


def test_the_support_archive_has_no_controls(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("\x1b[2J\u202e told")
    target = tmp_path / "support.tar.gz"
    support_archive.write(str(target), str(tmp_path), [], {})
    with tarfile.open(target) as archive:
        text = archive.extractfile("dream-runner-support/runs/1/log.txt").read().decode()  # type: ignore[union-attr]
    assert text == r"\u001b[2J\u202e told"


def test_a_question_is_asked_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(terminal, "is_present", lambda: True)
    monkeypatch.setattr(terminal.getpass, "getpass", lambda prompt: asked.append(prompt) or "x")
    terminal.password(f"password of {EVIL}: ")
    assert asked == [f"password of {SHOWN}: "]


def test_the_upgrade_program_is_guarded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert upgrader.main([str(tmp_path / "\x1b[2J")]) != 0
    out, err = capsys.readouterr()
    assert out + err
    assert controls(out + err) == []
