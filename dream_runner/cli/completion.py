"""Suggest values to the shell on Tab. Nothing here may print or fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ..paths import default_state_dir
from ..settings.table import Setting

Suggest = Callable[[str], list[str]]

#: Settings whose values come from the catalogue, and the part of the catalogue to read.
_IN_CATALOGUE = {"tier": ("tiers", "auto"), "model": ("models", "auto", "small")}


#: At the first Tab of a session zsh runs the file itself; typer's file only defines a function.
_FIRST_TAB = '\n[[ ${funcstack[1]} == _%(prog_name)s ]] && %(complete_func)s "$@"\n'


def patch_zsh() -> None:
    """Make the first Tab complete in zsh. Do nothing if typer's internals have changed."""
    from typer import _completion_shared as shared

    scripts = getattr(shared, "_completion_scripts", {})
    if "funcstack" not in scripts.get("zsh", "funcstack"):
        scripts["zsh"] += _FIRST_TAB


def for_setting(setting: Setting) -> Suggest | None:
    """Return the suggestions for a setting. None: the shell suggests files."""
    if setting.choices:
        return lambda incomplete: _with_prefix(incomplete, setting.choices)
    if setting.name in _IN_CATALOGUE:
        return lambda incomplete: _with_prefix(incomplete, _from_catalogue(setting.name))
    return None


def progress_displays(incomplete: str) -> list[str]:
    """Return the values of ``--ui``."""
    from ..ui import KINDS

    return _with_prefix(incomplete, KINDS)


def runs(incomplete: str) -> list[str]:
    """Return the IDs of all runs that a report can show, newest first."""
    from ..commands.report import runs_of

    folders = runs_of(Path(default_state_dir(os.environ)))
    return _with_prefix(incomplete, (folder.name for folder in folders))


def _from_catalogue(name: str) -> list[str]:
    # Imported here because it takes as long as everything else together.
    from .. import catalog

    part, *more = _IN_CATALOGUE[name]
    loaded = catalog.load()
    rows = loaded.tiers["tiers"] if part == "tiers" else loaded.models["models"]
    return [*more, *(str(row["id"]) for row in rows)]


def _with_prefix(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]
