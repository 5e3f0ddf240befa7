"""The words of the command line: every verb has its playbook, every setting its option."""

import re

import pytest
import typer

from dream_runner import cli, paths, report
from dream_runner.module_utils.dream_core import errors
from dream_runner.settings import SETTINGS, Problem, SettingsError

COMMAND = typer.main.get_command(cli.app)
VERBS = COMMAND.commands  # type: ignore[attr-defined]


def options(verb: str) -> set[str]:
    return {word for item in VERBS[verb].params for word in (*item.opts, *item.secondary_opts)}


def test_every_playbook_is_a_verb() -> None:
    playbooks = {path.stem for path in (paths.content() / "playbooks").glob("*.yml")}
    assert playbooks <= set(VERBS)


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


def test_the_user_guide_names_only_real_options() -> None:
    everything = {word for verb in VERBS for word in options(verb)}
    everything |= {"--help", "--version", "--remove-runner"}
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
    assert report.form_of(words) == form


def test_error_text_says_what_where_and_hint() -> None:
    error = errors.DiskError("it is full", code="DISK_FULL", where="/srv", hint="free some")
    assert (
        report.error_text(error) == "error[DISK_FULL]: it is full\n  where: /srv\n  hint: free some"
    )
    several = SettingsError([Problem("--tier", "no", "yes"), Problem("DREAM_GPU", "no")])
    assert report.error_text(several).splitlines() == [
        "error[SETTINGS_INVALID]: 2 settings are wrong; nothing was changed",
        "  --tier: no",
        "    hint: yes",
        "  DREAM_GPU: no",
    ]
