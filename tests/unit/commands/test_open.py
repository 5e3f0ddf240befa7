"""Where the chat page is shown, and what is printed where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dream_runner.commands import open as command
from dream_runner.module_utils.dream_core.errors import RequirementError
from dream_runner.module_utils.dream_core.records import receipt

URL = "http://127.0.0.1:11434/"


@pytest.fixture
def installed(tmp_path: Path) -> str:
    access = {"chat": URL, "api": "x", "model": "m", "bind_address": "127.0.0.1"}
    document = {"schema": 2, "phase": "summary", "state": "done", "install_dir": "/srv/ai"}
    receipt.write(str(tmp_path), {**document, "facts": {"access": access}, "resources": []})
    return str(tmp_path)


@pytest.mark.parametrize(
    ("environment", "works", "is_shown"),
    [
        ({"DISPLAY": ":0"}, True, True),
        ({"WAYLAND_DISPLAY": "w"}, True, True),
        ({"DISPLAY": ":0"}, False, False),
        ({}, True, False),
        ({"DISPLAY": "localhost:10", "SSH_CONNECTION": "1 2 3 4"}, True, False),
    ],
)
def test_a_browser_is_used_where_there_is_a_desktop(
    installed: str, environment: dict[str, str], works: bool, is_shown: bool
) -> None:
    asked: list[str] = []

    def show(url: str) -> bool:
        asked.append(url)
        return works

    opened = command.run(installed, environment, show)
    assert (opened.url, opened.is_shown) == (URL, is_shown)
    assert asked == ([URL] if "SSH_CONNECTION" not in environment and environment else [])
    assert command.as_text(opened).splitlines()[0] == URL


def test_over_ssh_the_way_there_is_told(installed: str) -> None:
    opened = command.run(installed, {"SSH_CONNECTION": "1 2 3 4"})
    assert opened.tunnel.startswith("ssh -N -L 11434:127.0.0.1:11434 ")
    assert opened.tunnel in command.as_text(opened)


def test_nothing_to_open(tmp_path: Any) -> None:
    with pytest.raises(RequirementError) as caught:
        command.run(str(tmp_path), {"DISPLAY": ":0"})
    assert (caught.value.code, caught.value.exit_code) == ("NO_PAGE", 3)
