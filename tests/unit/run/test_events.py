"""Events go over the socket and back unchanged; strangers are ignored."""

import json

import pytest

from dream_runner.module_utils.dream_core.errors import (
    DiskError,
    DreamError,
    EngineError,
    Interrupted,
    NetworkError,
    PrivilegeError,
    RequirementError,
    from_dict,
)
from dream_runner.run import events
from dream_runner.run.task_errors import error_of_task

SAMPLES = [
    events.PhaseStarted(1.0, "localhost", "models"),
    events.PhaseFinished(2.0, "localhost", "models", "changed", 3, 0.5),
    events.TaskStarted(1.0, "localhost", "models", "Fetch the model"),
    events.TaskFinished(1.0, "localhost", "models", "Fetch the model", "ok", 0.4),
    events.Progress(1.0, "localhost", "models", "m.gguf", 10, 100, 5.0),
    events.Notice(1.0, "localhost", "warning", "careful"),
    events.RunFinished(1.0, "localhost", 10, 2, 0, 3, 0),
]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_round_trip(event: events.Event) -> None:
    assert events.parse(json.loads(json.dumps(events.to_message(event)))) == event


def test_an_error_travels_with_its_task() -> None:
    error = DiskError("full", code="DISK_FULL", where="/srv", hint="free some")
    sent = events.TaskFinished(1.0, "h", "models", "Fetch", "failed", 1.0, error=error)
    received = events.parse(json.loads(json.dumps(events.to_message(sent))))
    assert isinstance(received, events.TaskFinished)
    assert isinstance(received.error, DiskError)
    assert received.error.to_dict() == error.to_dict()


@pytest.mark.parametrize(
    "message", [None, 7, "x", [], {}, {"type": "moon"}, {"type": "notice"}, {"type": ["a"]}]
)
def test_what_is_not_an_event_is_none(message: object) -> None:
    assert events.parse(message) is None


def test_unknown_fields_are_ignored() -> None:
    message = events.to_message(SAMPLES[0]) | {"new_field": 1}
    assert events.parse(message) == SAMPLES[0]


def _failed(message: str, phase: str = "services", status: str = "failed") -> events.TaskFinished:
    return events.TaskFinished(1.0, "h", phase, "Do it", status, 1.0, message=message)


@pytest.mark.parametrize(
    ("event", "cls", "code"),
    [
        (_failed("[Errno 28] No space left on device: '/x'"), DiskError, "DISK_FULL"),
        (_failed("[Errno 30] Read-only file system"), DiskError, "READ_ONLY"),
        (_failed("Missing sudo password"), PrivilegeError, "SUDO_MISJUDGED"),
        (
            _failed(
                "Task failed: Premature end of stream waiting for become success.\n"
                ">>> Standard Error\nsudo: a password is required"
            ),
            PrivilegeError,
            "SUDO_MISJUDGED",
        ),
        (_failed("sudo: sorry, you must have a tty to run sudo"), PrivilegeError, "SUDO_MISJUDGED"),
        (_failed("ada is not in the sudoers file."), PrivilegeError, "NOT_PERMITTED"),
        (_failed("Failed to update apt cache: unknown"), NetworkError, "NETWORK_FAILED"),
        (_failed("E: Unable to locate package x"), RequirementError, "PACKAGE_NOT_FOUND"),
        (_failed("Could not get lock /var/lib/dpkg"), DreamError, "PACKAGE_MANAGER_BUSY"),
        (
            _failed("dpkg: error: dpkg frontend lock was locked by another process with pid 71"),
            DreamError,
            "PACKAGE_MANAGER_BUSY",
        ),
        (_failed("something odd"), EngineError, "SERVICE_FAILED"),
        (_failed("something odd", phase="devtools"), DreamError, "TASK_FAILED"),
        (_failed("ssh: no route", status="unreachable"), NetworkError, "HOST_UNREACHABLE"),
        (_failed(""), EngineError, "SERVICE_FAILED"),
    ],
)
def test_a_failed_task_becomes_one_error(
    event: events.TaskFinished, cls: type[DreamError], code: str
) -> None:
    error = error_of_task(event)
    assert (type(error), error.code) == (cls, code)
    assert error.hint
    assert "Do it" in error.where
    assert error.what


def test_foreign_data_is_not_an_error() -> None:
    for data in (None, [], {}, {"what": "x"}, "x"):
        assert from_dict(data) is None
    unknown = from_dict({"what": "x", "code": "Y", "class": "FromTheFuture"})
    assert type(unknown) is DreamError


def test_exit_codes_are_the_documented_ones() -> None:
    assert {cls.exit_code for cls in DreamError.__subclasses__()} == {*range(2, 14), 130}
    assert Interrupted("x", code="INTERRUPTED").exit_code == 130
