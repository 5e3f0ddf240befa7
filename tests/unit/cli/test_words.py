"""The words of the command line: every verb has its playbook, every setting its option."""

import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer

from dream_runner import paths, wording
from dream_runner.cli import app, examples, reporting
from dream_runner.module_utils.dream_core import errors
from dream_runner.settings.problems import Problem, SettingsError
from dream_runner.settings.table import SETTINGS

COMMAND = typer.main.get_command(app.app)


def leaves(command: Any, name: str = "") -> dict[str, Any]:
    """Return every verb by its words: ``bundle create`` is one."""
    if not hasattr(command, "commands"):
        return {name: command}
    return {
        words: leaf
        for short, below in command.commands.items()
        for words, leaf in leaves(below, f"{name} {short}".strip()).items()
    }


VERBS = leaves(COMMAND)


def options(verb: str) -> set[str]:
    return {word for item in VERBS[verb].params for word in (*item.opts, *item.secondary_opts)}


def test_every_playbook_is_a_verb() -> None:
    playbooks = {path.stem for path in (paths.content() / "playbooks").glob("*.yml")}
    # What every verb of a fleet begins with is no verb itself.
    assert playbooks - {"fleet_survey"} <= set(VERBS)


@pytest.mark.parametrize("verb", ["install", "plan"])
def test_every_setting_is_an_option(verb: str) -> None:
    wanted = {flag for setting in SETTINGS for flag in (setting.flag, *setting.flags)}
    assert wanted | {"--lan", "--answers", "--no-offline"} <= options(verb)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_speaks_json_and_explains_itself(verb: str) -> None:
    assert {"--json", "--debug"} <= options(verb)
    assert VERBS[verb].help
    assert VERBS[verb].short_help
    assert all(item.help for item in VERBS[verb].params if item.opts[0].startswith("--"))


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_examples_that_hold(verb: str) -> None:
    assert verb in examples.EXAMPLES
    for typed, _ in examples.EXAMPLES[verb]:
        assert f"dream-runner {typed}" in VERBS[verb].help
        # Parsed, not run: nothing below is asked to do anything.
        words, command = shlex.split(typed), COMMAND
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_verbs(shell: str) -> None:
    environment = {
        **os.environ,
        "_DREAM_RUNNER_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "dream-runner st",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "dream-runner st",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    argv = [sys.executable, "-m", "dream_runner"]
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert "status" in ended.stdout, ended.stderr


def test_the_user_guide_names_only_real_options() -> None:
    everything = {word for verb in VERBS for word in options(verb)}
    everything |= {word for item in COMMAND.params for word in item.opts}
    everything |= {"--help", "--remove-runner"}
    # Of other programs that the guide names.
    everything |= {"--quiet", "--validate", "--auto-remove", "--set-version"}
    everything |= {"--require-hashes", "--no-deps", "--unit", "--user", "--exclude", "--check"}
    for page in (paths.PACKAGE.parent / "docs" / "user").glob("*.md"):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text()))
        assert named <= everything, page.name


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["install"], "text"),
        (["install", "--json"], "json"),
        (["install", "--ui", "json"], "lines"),
        (["install", "--ui=json"], "lines"),
        (["install", "--ui", "json", "--json"], "json"),
        (["--help"], "text"),
    ],
)
def test_form_of(words: list[str], form: str) -> None:
    assert reporting.form_of(words) == form


def test_error_text_says_what_where_and_hint() -> None:
    error = errors.DiskError("it is full", code="DISK_FULL", where="/srv", hint="free some")
    assert reporting.error_text(error).splitlines() == [
        "error[DISK_FULL]: it is full",
        "  where: /srv",
        "  hint: free some",
        wording.spelled("  more: 'dream-runner explain DISK_FULL'"),
    ]
    several = SettingsError([Problem("--tier", "no", "yes"), Problem("DREAM_GPU", "no")])
    assert reporting.error_text(several).splitlines() == [
        "error[SETTINGS_INVALID]: 2 settings are invalid; nothing was changed",
        "  --tier: no",
        "    hint: yes",
        "  DREAM_GPU: no",
        wording.spelled("  more: 'dream-runner explain SETTINGS_INVALID'"),
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--api-key"], ["--api-key=yes"]),
        (["--api-key", "no"], ["--api-key", "no"]),
        (["--lan", "--api-key", "--yes"], ["--lan", "--api-key=yes", "--yes"]),
        (["--api-key=no"], ["--api-key=no"]),
    ],
)
def test_the_key_alone_means_yes(typed: list[str], meant: list[str]) -> None:
    assert app.completed(["install", *typed]) == ["install", *meant]
