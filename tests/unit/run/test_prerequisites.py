"""What Ansible needs before its first task, and its last words where it does not start."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import doctor
from dream_runner.run import prerequisites
from dream_runner.run.environment import ansible_environment
from dream_runner.run.task_errors import error_of_start


def test_the_callers_locale_never_arrives(tmp_path: Path) -> None:
    caller = {"LANG": "de_DE.ISO-8859-1", "LC_ALL": "xx_XX", "LC_TIME": "x", "LANGUAGE": "de"}
    found = ansible_environment(tmp_path, caller)
    locale = {name: value for name, value in found.items() if prerequisites.is_locale(name)}
    assert locale == {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def test_a_user_without_a_name_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 424242)
    assert ansible_environment(tmp_path, {})["LOGNAME"] == "424242"
    assert ansible_environment(tmp_path, {"LOGNAME": "ada"})["LOGNAME"] == "ada"


def test_no_utf8_locale_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "utf8_locale", lambda: None)
    with pytest.raises(prerequisites.RequirementError) as caught:
        prerequisites.require()
    assert (caught.value.code, caught.value.exit_code) == ("LOCALE_MISSING", 3)


def test_no_semaphores_is_an_error_of_ours_and_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without:
        def Lock(self) -> None:
            raise OSError(38, "Function not implemented")

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Without())
    with pytest.raises(prerequisites.RequirementError) as caught:
        prerequisites.require()
    assert (caught.value.code, caught.value.exit_code) == ("SHARED_MEMORY_MISSING", 3)
    place: Any = None
    (finding,) = doctor.CHECKS["ansible"](place)
    assert "Function not implemented" in finding.evidence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ERROR: Ansible could not initialize x\n", "Ansible could not initialize x"),
        ("a\n[ERROR]: first\nb\n[ERROR]: no such role\nOrigin: x\n", "no such role"),
        ("ERROR! old form\n\n", "old form"),
        ("Traceback (most recent):\n  x\nFileNotFoundError: /x\n\nmore\n", "FileNotFoundError: /x"),
        ("no mark at all\n\n", "no mark at all"),
        ("", ""),
    ],
)  # fmt: skip
def test_last_words(tmp_path: Path, text: str, words: str) -> None:
    log = tmp_path / "log.txt"
    log.write_text(text)
    assert prerequisites.last_words(log) == words
    assert prerequisites.last_words(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("rc", "words", "code"),
    [
        (1, "Ansible could not initialize the preferred locale: unsupported", "LOCALE_MISSING"),
        (1, "Ansible requires the locale encoding to be UTF-8; Detected None.", "LOCALE_MISSING"),
        (1, "Unable to use multiprocessing, this is normally ...", "SHARED_MEMORY_MISSING"),
        (1, "[Errno 12] Cannot allocate memory", "RESOURCE_LIMIT"),
        (1, "BlockingIOError: [Errno 11] Resource temporarily unavailable", "RESOURCE_LIMIT"),
        (1, "[Errno 28] No space left on device: '/x'", "DISK_FULL"),
        (-9, "PLAY [x]", "RESOURCE_LIMIT"),
        (137, "", "RESOURCE_LIMIT"),
        (4, "something new", "ANSIBLE_FAILED"),
    ],
)
def test_a_known_reason_has_its_own_code(rc: int, words: str, code: str) -> None:
    error = error_of_start(rc, words)
    assert error.code == code
    assert error.hint
    assert not words or rc < 0 or words.strip(".") in error.what
