"""Merge the settings from all sources and check them together.

A setting ``engine_port`` is ``--engine-port``, ``DREAM_ENGINE_PORT``, the key
``engine_port`` (or ``dream_engine_port``) of an answers file and the Ansible
variable ``dream_engine_port``. All problems are reported at once, by the names that were typed.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from . import parsers
from .contradictions import contradictions
from .parsers import Invalid, Known
from .problems import Problem, SettingsError
from .table import BY_NAME, ENVIRONMENT_PREFIX, SETTINGS, Setting
from .values import Chosen, Given, Saved, Settings


def from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    """Return the settings in ``DREAM_*`` variables; empty ones are ignored."""
    return {
        setting.name: Given(environment[setting.variable], setting.variable, "environment")
        for setting in SETTINGS
        if environment.get(setting.variable, "") != ""
    }


def merge(
    flags: Mapping[str, Given],
    environment: Mapping[str, Given],
    saved: Saved,
    answers: Mapping[str, Given],
    known: Known,
    problems: Iterable[Problem] = (),
) -> Settings:
    """Return all settings, or raise SettingsError with every problem.

    Precedence: flags, environment, saved, answers file, default. A value that was saved *from* an
    answers file has lower precedence than the current answers file, so that editing it works.
    """
    found = list(problems)
    notes: list[str] = []
    chosen: dict[str, Chosen] = {}
    typed = {**answers, **environment, **flags}
    for setting in SETTINGS:
        layers = _layers(setting, flags, environment, saved, answers, typed)
        chosen[setting.name] = _first_valid(setting, layers, known, found, notes)
    found += contradictions(chosen)
    if found:
        raise SettingsError(found)
    return Settings(chosen, tuple(notes + _overruled(chosen, answers, known)))


def _layers(
    setting: Setting,
    flags: Mapping[str, Given],
    environment: Mapping[str, Given],
    saved: Saved,
    answers: Mapping[str, Given],
    typed: Mapping[str, Given],
) -> list[Given]:
    name = setting.name
    layers = [layer[name] for layer in (flags, environment) if name in layer]
    kept = [Given(saved.values[name], "saved", "saved")] if name in saved.values else []
    if _belongs_to_another_model(name, saved, typed):
        kept = []
    told = [answers[name]] if name in answers else []
    from_file = saved.sources.get(name) == "answers"
    return layers + (told + kept if from_file else kept + told)


def _belongs_to_another_model(name: str, saved: Saved, typed: Mapping[str, Given]) -> bool:
    """Tell whether the saved ``name`` describes a model that is no longer the chosen one."""
    if name not in ("model_sha256", "model_size_bytes") or "model" not in typed:
        return False
    return str(typed["model"].raw) != str(saved.values.get("model"))


def _first_valid(
    setting: Setting,
    layers: list[Given],
    known: Known,
    problems: list[Problem],
    notes: list[str],
) -> Chosen:
    """Return the value with the highest precedence; add invalid values to ``problems``."""
    valid: list[Chosen] = []
    for given in layers:
        try:
            valid.append(Chosen(setting.parse(given.raw, known), given.origin, given.where))
        except Invalid as error:
            # An invalid value in the answers file is reported even if another source overrides it.
            if given.origin == "answers" or (given.origin != "saved" and not valid):
                problems.append(Problem(given.where, error.what, error.hint))
            elif given.origin == "saved" and not valid:
                kept = _still_known(setting, given.raw, known)
                rest = f"; kept: {', '.join(kept)}" if kept else ""
                notes.append(f"saved {setting.name} ignored: {error.what}{rest}")
                if kept:
                    valid.append(Chosen(setting.parse(kept, known), given.origin, given.where))
    valid.append(Chosen(setting.parse(setting.default, known), "default", "default"))
    return valid[0]


def _still_known(setting: Setting, raw: Any, known: Known) -> list[Any]:
    """Return the items of a saved list that this version knows; a service may be removed."""
    kept = []
    for word in raw if setting.form == "list" and isinstance(raw, list) else ():
        with contextlib.suppress(Invalid):
            setting.parse([word], known)
            kept.append(word)
    return kept


def _overruled(
    chosen: Mapping[str, Chosen], answers: Mapping[str, Given], known: Known
) -> list[str]:
    """Return a line for each answer of the file that an earlier choice overrides."""
    lines = []
    for name, given in answers.items():
        item = chosen[name]
        if item.origin != "saved" or _parsed(name, given, known) == item.value:
            continue
        lines.append(
            f"{given.where} is not used: an earlier run set {name} to "
            f"{parsers.shown(item.value)!r}; use {BY_NAME[name].flag} to change it"
        )
    return lines


def _parsed(name: str, given: Given, known: Known) -> Any:
    try:
        return BY_NAME[name].parse(given.raw, known)
    except Invalid:
        return None


def near_misses(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each ``DREAM_*`` variable that looks like a misspelled setting."""
    right = [setting.variable for setting in SETTINGS]
    lines = []
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in right:
            continue
        close = difflib.get_close_matches(name, right, n=1, cutoff=0.85)
        if close:
            lines.append(f"{name} is not a setting; did you mean {close[0]}?")
    return lines
