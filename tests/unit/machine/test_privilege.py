"""The sudo password: asked for only when needed, checked at once, and never anywhere else."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_runner.machine import privilege
from dream_runner.module_utils.dream_core.errors import PrivilegeError

ACTIONS = ["install packages: libgomp1"]
COMMANDS = ("apt-get install -y libgomp1",)


def SILENT(_: str) -> None:
    """Stand for a terminal that nothing is written to."""


def session(sudo: str, why: str = "") -> dict[str, Any]:
    return {"user": "me", "is_root": sudo == "root", "sudo": sudo, "sudo_why": why}


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
    assert privilege.become_password(actions, (), session(who), answering(), SILENT) is None


def test_the_right_password_is_handed_on_and_shown_to_nobody(sudo: Path) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "sesame"

    found = privilege.become_password(ACTIONS, (), session("password"), ask, SILENT)
    assert found == "sesame"
    assert asked == ["[sudo] password for me (needed to install libgomp1): "]
    assert "sesame" not in sudo.read_text()


def test_wrong_then_right(sudo: Path) -> None:
    ask = answering("wrong", "sesame")
    assert privilege.become_password(ACTIONS, (), session("password"), ask, SILENT) == "sesame"


def test_three_times_wrong(sudo: Path) -> None:
    ask = answering("a", "b", "c")
    with pytest.raises(PrivilegeError) as caught:
        privilege.become_password(ACTIONS, (), session("password"), ask, SILENT)
    assert caught.value.code == "SUDO_REFUSED"


@pytest.mark.parametrize("who", ["none", "password"])
def test_without_a_way_the_exact_command_is_told(who: str) -> None:
    with pytest.raises(PrivilegeError) as caught:
        privilege.become_password(
            ACTIONS,
            ("apt-get install -y libgomp1", "loginctl x"),
            session(who),
            answering(None),
            SILENT,
        )
    assert caught.value.code == "SUDO_NEEDED"
    assert caught.value.exit_code == 4
    assert "'apt-get install -y libgomp1 && loginctl x'" in caught.value.hint


def test_what_no_command_does_has_another_way() -> None:
    actions = [*ACTIONS, "create and start a system service"]
    with pytest.raises(PrivilegeError) as caught:
        privilege.become_password(actions, (), session("none"), answering(None), SILENT)
    assert "as root" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("me is not in the sudoers file.", "not in the sudoers file"),
        ("Sorry, user me is not allowed to execute '/bin/sh -c :' as root on x.", "does not allow"),
    ],
)
def test_a_right_password_that_does_not_help_is_not_asked_for_again(
    sudo: Path, said: str, shown: str
) -> None:
    program = sudo.parent / "bin" / "sudo"
    program.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    with pytest.raises(PrivilegeError, match=shown) as caught:
        privilege.become_password(
            ACTIONS, COMMANDS, session("password"), answering("sesame"), SILENT
        )
    assert "'apt-get install -y libgomp1' once" in caught.value.hint


def test_the_way_without_sudo_is_shown_before_the_question(sudo: Path) -> None:
    shown: list[str] = []

    def ask(_: str) -> str:
        assert shown == [
            "No sudo? As root run 'apt-get install -y libgomp1' once; the rest needs no root."
        ]
        return "sesame"

    privilege.become_password(ACTIONS, COMMANDS, session("password"), ask, shown.append)
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("who", "why", "may_ask", "shown"),
    [
        ("none", "", True, "sudo is not installed"),
        ("none", "sudo wants a terminal (requiretty)", True, "requiretty"),
        ("password", "", False, "does not ask"),
    ],
)
def test_who_cannot_go_on_is_told_before_any_question(
    who: str, why: str, may_ask: bool, shown: str
) -> None:
    with pytest.raises(PrivilegeError, match=shown) as caught:
        privilege.require_possible_root(ACTIONS, COMMANDS, session(who, why), may_ask=may_ask)
    assert caught.value.code == "SUDO_NEEDED"
    assert "apt-get install -y libgomp1" in caught.value.hint
    privilege.require_possible_root([], COMMANDS, session(who, why), may_ask=may_ask)
