"""The settings of each host. All are checked before anything starts.

Precedence: flags, environment, inventory (in Ansible's order), answers file, default.
The answers saved on a host are not used: the inventory describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..paths import default_state_dir
from ..settings import answers, local_model
from ..settings.merge import from_environment, merge
from ..settings.parsers import Invalid, Known, remote_path
from ..settings.problems import Problem, SettingsError
from ..settings.table import BY_NAME, VARIABLE_PREFIX
from ..settings.values import Chosen, Given, Saved, Settings
from .inventory.hosts import InventoryHost

#: Paths on the host; this machine cannot check them.
_REMOTE = ("install_dir", "bundle")
#: An inventory variable that is not a setting: the state directory of a host.
STATE_DIR = "dream_state_dir"
DEFAULT_STATE_DIR = "~/.local/state/dream-runner"

Layer = Mapping[str, Given]


def of_hosts(
    hosts: Sequence[InventoryHost],
    flags: Layer,
    environment: Mapping[str, str],
    answers_file: str | None,
    known: Known,
) -> dict[str, Settings]:
    """Return the settings of each host. Raises SettingsError with all problems of all hosts."""
    told, problems = answers.read_answers(answers_file) if answers_file else ({}, [])
    # Check shared settings once, so that a wrong flag is not reported for every host.
    shared = _merged(flags, from_environment(environment), told, known, problems)
    if problems:
        raise SettingsError(problems)
    layers = (flags, from_environment(environment))
    state_dir = default_state_dir(environment)
    settings = {}
    for host in hosts:
        said, wrong = _from_inventory(host)
        merged = _merged(*layers, {**told, **said}, known, wrong) if said or wrong else shared
        problems += _of_host(host.name, wrong)
        if merged is not None:
            settings[host.name] = local_model.complete(merged, state_dir, save=False)
    if problems:
        raise SettingsError(problems)
    return settings


def _of_host(name: str, problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems, each prefixed with the host unless it is already."""
    return [
        item if item.where.startswith(f"{name}: ") else replace(item, where=f"{name}: {item.where}")
        for item in problems
    ]


def _from_inventory(host: InventoryHost) -> tuple[dict[str, Given], list[Problem]]:
    given, problems = {}, []
    for variable, raw in host.settings.items():
        name = variable.removeprefix(VARIABLE_PREFIX)
        where = f"{host.name}: {variable}"
        if name in BY_NAME:
            given[name] = Given(raw, where, "answers")
        elif variable != STATE_DIR:
            problems.append(Problem(where, "there is no such setting", answers.suggestion(name)))
    if host.transport not in ("ssh", "local"):
        what = f"connection {host.transport!r} is not supported; use ssh or local"
        problems.append(Problem(f"{host.name}: ansible_connection", what))
    return given, problems


def _merged(
    flags: Layer, environment: Layer, told: Layer, known: Known, problems: list[Problem]
) -> Settings | None:
    """Return the settings; None, with the reasons added to ``problems``, if they are invalid."""
    remote = {name: _remote(name, (flags, environment, told), problems) for name in _REMOTE}
    layers = [
        {name: given for name, given in layer.items() if name not in _REMOTE}
        for layer in (flags, environment, told)
    ]
    try:
        merged = merge(layers[0], layers[1], Saved(), layers[2], known)
    except SettingsError as error:
        problems += error.problems
        return None
    return None if problems else Settings({**merged.chosen, **remote}, merged.notes)


def _remote(name: str, layers: Sequence[Layer], problems: list[Problem]) -> Chosen:
    """Return a path on the host as it was given: only the host can resolve it."""
    given = next((layer[name] for layer in layers if name in layer), None)
    default: Any = BY_NAME[name].default
    if given is None:
        return Chosen(default, "default", "default")
    try:
        return Chosen(remote_path(given.raw), given.origin, given.where)
    except Invalid as error:
        problems.append(Problem(given.where, error.what, error.hint))
        return Chosen(default, "default", "default")
