"""Read and write the two settings files: the user's answers file, and saved settings.json."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from ..module_utils.dream_core.errors import DreamError
from ..module_utils.dream_core.files import json_file, text_file
from ..module_utils.dream_core.files.text_file import Unreadable
from ..module_utils.dream_core.records.receipt import read_all
from ..version import __version__
from .parsers import Known
from .problems import Problem
from .table import BY_NAME, VARIABLE_PREFIX
from .values import Given, Saved, Settings

#: Schema number of settings.json. A newer file is ignored and not changed.
SCHEMA = 1

_LIMIT_BYTES = 1024 * 1024
_FORM = "pass the path of a YAML file with one 'key: value' per line"


def read_answers(path: str) -> tuple[dict[str, Given], list[Problem]]:
    """Return the settings of an answers file, and its problems.

    Keys may have the prefix ``dream_``, so that the same file works with
    ``ansible-playbook -e @FILE``. For the same reason, ``ansible_*`` is ignored.
    """
    try:
        document = _load(path)
    except Unreadable as error:
        return {}, [Problem(f"--answers {path}", error.reason, error.hint or _FORM)]
    given, problems = {}, []
    for key, raw in document.items():
        name = str(key).removeprefix(VARIABLE_PREFIX)
        where = f"{path}: {key}"
        if name in BY_NAME:
            if raw is not None:
                given[name] = Given(raw, where, "answers")
        elif not name.startswith("ansible_"):
            problems.append(Problem(where, "there is no such setting", suggestion(name)))
    return given, problems


def _load(path: str) -> Mapping[Any, Any]:
    # Imported here because it takes 20 ms and only --answers needs it.
    from .. import yaml_file

    text = text_file.read(path, _LIMIT_BYTES)
    try:
        document = yaml_file.parse(text)
    except Unreadable as error:
        raise Unreadable(f"not YAML: {error.reason}", error.hint) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Unreadable("the file contains no settings", _FORM)
    return document


def suggestion(name: str) -> str:
    """Return a hint with the closest setting, or with the command that lists all."""
    close = difflib.get_close_matches(name, BY_NAME, n=1)
    return (
        f"did you mean {close[0]}?" if close else "'dream-runner install --help' lists all settings"
    )


def path_of_saved(state_dir: str) -> str:
    """Return the path of the saved settings."""
    return os.path.join(state_dir, "settings.json")


def read_saved(state_dir: str) -> tuple[Saved, list[str]]:
    """Return the settings of earlier runs and at most one warning; never fail.

    If the file is missing or unusable, they are restored from the receipt of the last install:
    with defaults, the next run could change the profile.
    """
    document, why = _document(state_dir)
    if document is None:
        values, lacks_address = _rebuilt(state_dir)
        if not (values or why or lacks_address):
            return Saved(), []
        what = f"saved settings ignored: {why}" if why else "no saved settings"
        instead = f"; restored from the installation: {', '.join(values)}" if values else ""
        lost = "; the URL of the model is not recorded, pass --model again" if lacks_address else ""
        return Saved(values, dict.fromkeys(values, "installed")), [what + instead + lost]
    kept = {name: raw for name, raw in document["values"].items() if name in BY_NAME}
    sources = document.get("sources")
    return Saved(kept, sources if isinstance(sources, dict) else {}), []


def _rebuilt(state_dir: str) -> tuple[dict[str, Any], bool]:
    """Return the settings that the last install recorded, and whether a model URL is missing.

    Defaults are left out: another version or host may have other defaults.
    """
    facts = read_all(state_dir)[0].get("features", {}).get("facts") or {}
    # The first version recorded only two settings, under the same names.
    settings = facts.get("settings", facts) if isinstance(facts, dict) else None
    if not isinstance(settings, dict):
        return {}, False
    chosen = {}
    for name, setting in BY_NAME.items():
        # The wrapper records paths with ~ resolved; a run by hand may not.
        default = setting.parse(setting.default, Known())
        if settings.get(name) not in (None, setting.default, default):
            chosen[name] = settings[name]
    return chosen, "model" in settings and settings["model"] is None


def _document(state_dir: str) -> tuple[dict[str, Any] | None, str]:
    document, why = json_file.read_json(path_of_saved(state_dir), limit=_LIMIT_BYTES)
    if document is None:
        return None, why or ""
    if not isinstance(document, dict) or not isinstance(document.get("values"), dict):
        return None, "settings.json has an unknown structure"
    schema = document.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        return None, f"settings.json has schema {schema!r}; this version supports up to {SCHEMA}"
    return document, ""


def save(state_dir: str, settings: Settings) -> str | None:
    """Save the user's choices for later runs. Return a warning instead of failing.

    Unchanged choices write nothing.
    """
    document = _writable_document(state_dir)
    before = document.get("sources", {})
    for name, chosen in settings.said().items():
        document["values"][name] = chosen.value
        source = before.get(name, "flag") if chosen.origin == "saved" else chosen.origin
        document["sources"][name] = source
    for name in _dropped(document["values"], settings):
        document["values"].pop(name)
        document["sources"].pop(name, None)
    if document == _document(state_dir)[0]:
        return None
    return _write(state_dir, document)


def _dropped(kept: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return saved settings that no longer apply, such as the digest of another model."""
    return [name for name in kept if name in BY_NAME and name not in settings.said()]


def _writable_document(state_dir: str) -> dict[str, Any]:
    """Return the current document for changing. Fields of other versions are kept."""
    document, _ = _document(state_dir)
    document = document or {"values": {}}
    if not isinstance(document.get("sources"), dict):
        document["sources"] = {}
    document.update(schema=SCHEMA, version=__version__)
    return document


def _write(state_dir: str, document: Mapping[str, Any]) -> str | None:
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        json_file.write_json(path_of_saved(state_dir), document, mode=0o600)
    except (DreamError, OSError) as error:
        return f"settings not saved: {error}"
    return None
