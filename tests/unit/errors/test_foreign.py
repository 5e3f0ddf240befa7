"""What other programs and libraries say reaches nobody with a secret in it."""

import json
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from dream_runner.cli import app
from dream_runner.module_utils.dream_core import redact
from dream_runner.module_utils.dream_core.errors import DreamError, NetworkError, from_dict
from dream_runner.run import events, journal
from dream_runner.run.processes import log_file
from dream_runner.run.task_errors import error_of_task
from dream_runner.settings.problems import Problem, SettingsError

SECRET = "pl4nted-Secret/value"


@pytest.fixture(autouse=True)
def known() -> None:
    redact.remember_environment({"HF_TOKEN": SECRET})


def raised(make: object) -> Exception:
    try:
        make()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


FOREIGN = {
    "number": lambda: int(SECRET),
    "key": lambda: {}[SECRET],  # type: ignore[misc]
    "json": lambda: json.loads('{"a": ' + SECRET),
    "yaml": lambda: yaml.safe_load(f"a: *{SECRET.replace('/', '')}"),
    "header": lambda: requests.get("http://127.0.0.1:1", headers={"X": SECRET + "\n"}, timeout=1),
    "address": lambda: requests.get(f"http://u:{SECRET}@[broken/", timeout=1),
    "program": lambda: subprocess.run(["false", SECRET], check=True),
    "missing": lambda: subprocess.run([f"/nowhere/{SECRET}"], check=True),
    "unicode": lambda: (SECRET + "\udc80").encode(),
    "unpack": lambda: (lambda a: a)(**{SECRET: 1}),  # type: ignore[misc, call-arg]
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("shows_traceback", [False, True])
def test_an_unexpected_exception_tells_its_kind_and_our_place_only(
    name: str, shows_traceback: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = app.unexpected_error(raised(FOREIGN[name]), shows_traceback)
    told = error.what + error.where + error.hint + json.dumps(error.to_dict())
    told += "".join(capsys.readouterr())
    assert SECRET not in told
    assert SECRET.replace("/", "") not in error.what
    assert error.what.startswith("unexpected ")


def test_text_without_a_form_is_not_told_at_all() -> None:
    """A value that nobody knows to be one, such as that of a file."""
    error = app.unexpected_error(raised(lambda: int("an unknown passphrase")), False)
    assert "passphrase" not in error.what
    assert "ValueError" in error.what


@pytest.mark.parametrize(
    "text",
    [
        f"curl: (7) {SECRET}",
        "GET http://user:pl4nted@proxy:3128/ failed",
        "fatal: could not read https://host/x?X-Amz-Signature=pl4nted",
        "Authorization: Bearer pl4nted-0123456",
        "password=pl4nted",
    ],
)
def test_errors_events_and_journals_hold_no_secret(tmp_path: Path, text: str) -> None:
    error = NetworkError(f"failed: {text}", code="X", where=text)
    again = from_dict({**error.to_dict(), "what": text, "where": text})
    assert again is not None
    for item in (error, again):
        assert "pl4nted" not in item.what + item.where + str(item) + repr(item)
    message = {
        "type": "task_finished", "time": 1.0, "host": "h", "phase": "models", "task": "t",
        "status": "failed", "seconds": 1.0, "message": text, "error": None,
    }  # fmt: skip
    event = events.parse(message)
    notice = events.parse(
        {"type": "notice", "time": 1.0, "host": "h", "level": "info", "text": text}
    )
    assert isinstance(event, events.TaskFinished)
    assert notice is not None
    assert "pl4nted" not in error_of_task(event).what
    with journal.Journal(tmp_path) as lines:
        lines.take(event)
        lines.take(notice)
    assert "pl4nted" not in (tmp_path / "events.jsonl").read_text()
    with log_file.opened(tmp_path / "log.txt") as log:
        log.write(text.encode() + b"\n")
    assert "pl4nted" not in (tmp_path / "log.txt").read_text()


def test_no_error_repeats_a_whole_value() -> None:
    value = "begin " + "x" * 1_000_000 + " end"
    problem = Problem(value, f"{value!r} is not a tier")
    assert len(problem.what) < 500
    assert len(problem.where) < 500
    assert problem.what.startswith("'begin ")
    assert problem.what.endswith(" end' is not a tier")
    assert len(str(SettingsError([problem]).to_dict())) < 3000
    error = DreamError(value, code="X", where=value)
    assert len(error.what) < 5000
    assert len(error.where) < 1500


def test_what_is_no_secret_stays() -> None:
    for text in (
        "the token file /home/u/token can be read by others",
        "https://host/file could not be fetched (404)",
        "needs 18.6 GB on /srv, has 3 GB",
        "--sha256 " + "0" * 64,
    ):
        assert DreamError(text, code="X").what == text
