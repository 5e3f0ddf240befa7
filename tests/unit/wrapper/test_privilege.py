"""The sudo password: asked for only when needed, checked at once, and never anywhere else."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_runner import privilege
from dream_runner.module_utils.dream_core.errors import PrivilegeError

ACTIONS = ["install packages: libgomp1"]


def session(sudo: str) -> dict[str, Any]:
    return {"user": "me", "is_root": sudo == "root", "sudo": sudo}


def answering(*passwords: str | None) -> Callable[[str], str | None]:
    left = list(passwords)
    return lambda prompt: left.pop(0)


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sudo that takes the password 'sesame' and notes how it was called."""
    notes = tmp_path / "notes"
    program = tmp_path / "bin" / "sudo"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nread -r word\necho "$@" >> {notes}; env >> {notes}\n[ "$word" = sesame ]\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return notes


@pytest.mark.parametrize(
    ("actions", "who"),
    [([], "none"), ([], "password"), (ACTIONS, "root"), (ACTIONS, "passwordless")],
)
def test_nothing_is_asked_where_nothing_is_needed(actions: list[str], who: str) -> None:
    assert privilege.become_password(actions, (), session(who), answering()) is None


def test_the_right_password_is_handed_on_and_shown_to_nobody(sudo: Path) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "sesame"

    found = privilege.become_password(ACTIONS, (), session("password"), ask)
    assert found == "sesame"
    assert "install packages: libgomp1" in asked[0]
    assert "sesame" not in sudo.read_text()


def test_wrong_then_right(sudo: Path) -> None:
    ask = answering("wrong", "sesame")
    assert privilege.become_password(ACTIONS, (), session("password"), ask) == "sesame"


def test_three_times_wrong(sudo: Path) -> None:
    ask = answering("a", "b", "c")
    with pytest.raises(PrivilegeError) as caught:
        privilege.become_password(ACTIONS, (), session("password"), ask)
    assert caught.value.code == "SUDO_REFUSED"


@pytest.mark.parametrize("who", ["none", "password"])
def test_without_a_way_the_exact_command_is_told(who: str) -> None:
    with pytest.raises(PrivilegeError) as caught:
        privilege.become_password(
            ACTIONS, ("apt-get install -y libgomp1", "loginctl x"), session(who), answering(None)
        )
    assert caught.value.code == "SUDO_NEEDED"
    assert caught.value.exit_code == 4
    assert "'apt-get install -y libgomp1 && loginctl x'" in caught.value.hint


def test_what_no_command_does_has_another_way() -> None:
    actions = [*ACTIONS, "write and start a system service"]
    with pytest.raises(PrivilegeError) as caught:
        privilege.become_password(actions, (), session("none"), answering(None))
    assert "as root" in caught.value.hint
