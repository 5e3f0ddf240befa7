"""Every command of ours in README and docs is one that the program understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from dream_runner import paths
from dream_runner.cli import app

ROOT = paths.PACKAGE.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = typer.main.get_command(app.app)
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
#: At the start of a line or of what a shell puts in place; a name of a variable may stand before.
_OURS = re.compile(
    r"(?:^|\$\()(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?(dream-runner|install\.sh)(?: (.*))?$"
)
#: What install.sh keeps to itself.
_OF_THE_SCRIPT = {"--remove-runner"}


def commands(text: str) -> Iterator[list[str]]:
    """Return the words of each command of ours in a page, as if dream-runner was typed."""
    blocks = _FENCED.findall(text)
    joined = (re.sub(r"\\\n\s*", "", block) for block in blocks)
    lines = [line for block in joined for line in block.splitlines()]
    for line in [*lines, *_INLINE.findall(_FENCED.sub("", text))]:
        found = _OURS.search(line)
        if not found:
            continue
        program, rest = found.groups(default="")
        # Two blanks begin what a command line is explained with.
        words = shlex.split(re.split(r"  |\)", rest)[0], comments=True)
        if program == "install.sh":
            words = ["install", *(word for word in words if word not in _OF_THE_SCRIPT)]
        # COMMAND stands for any verb.
        if not words or not words[0].isupper():
            yield words


def understood(words: list[str]) -> None:
    """Parse, not run. Raises what the command line would complain with."""
    words, command = list(words), COMMAND
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"there is no verb {name}"
        command = command.commands[name]
    names: dict[str, Any] = {name: item for item in command.params for name in item.opts}
    if hasattr(command, "commands"):
        assert {word for word in words if word.startswith("-")} <= {*names, "--help", "--version"}
        return
    wanted = {item.name for item in command.params if item.param_type_name == "argument"}
    # ``dream-runner fetch`` in a sentence names the verb; only a whole line has its arguments.
    if words or not wanted:
        command.make_context(command.name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_it_is_understood(page: Path) -> None:
    for words in commands(page.read_text()):
        try:
            understood(words)
        except Exception as error:
            said = getattr(error, "message", None) or str(error)
            raise AssertionError(f"{page.name}: dream-runner {shlex.join(words)}: {said}") from None


def test_commands_are_found_in_each_form() -> None:
    text = (
        "`dream-runner lock`, `./install.sh --yes --remove-runner`, `dream-runner.facts/1`\n"
        "```\n$ ~/.local/bin/dream-runner status\n"
        "DREAM_X=1 dream-runner plan \\\n  --json  # said\n"
        'xdg-open "$(dream-runner report)"\n```\n'
    )
    assert list(commands(text)) == [
        ["status"],
        ["plan", "--json"],
        ["report"],
        ["lock"],
        ["install", "--yes"],
    ]


@pytest.mark.parametrize("typed", ["instal", "install --no-such", "fleet plan --frob", "--wrong"])
def test_a_wrong_one_is_not_understood(typed: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever the command line has
        understood(typed.split())


def test_the_guide_has_many() -> None:
    assert sum(len(list(commands(page.read_text()))) for page in PAGES) > 50
