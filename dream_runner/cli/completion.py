"""What the shell offers for a value on Tab; nothing here may print or fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ..paths import default_state_dir
from ..settings.table import Setting

Suggest = Callable[[str], list[str]]

#: Settings whose words are in the catalogue, and the part that has them.
_IN_CATALOGUE = {"tier": ("tiers", "auto"), "model": ("models", "auto", "small")}


#: zsh runs the file itself for the first Tab of a session; typer's only defines a function then.
_FIRST_TAB = '\n[[ ${funcstack[1]} == _%(prog_name)s ]] && %(complete_func)s "$@"\n'


def mend_zsh() -> None:
    """Let the first Tab of a zsh complete, too. Does nothing where typer has changed its parts."""
    from typer import _completion_shared as shared

    scripts = getattr(shared, "_completion_scripts", {})
    if "funcstack" not in scripts.get("zsh", "funcstack"):
        scripts["zsh"] += _FIRST_TAB


def for_setting(setting: Setting) -> Suggest | None:
    """Return what to offer for a setting; None leaves it to the shell, which offers files."""
    if setting.choices:
        return lambda incomplete: _that_begin(incomplete, setting.choices)
    if setting.name in _IN_CATALOGUE:
        return lambda incomplete: _that_begin(incomplete, _from_catalogue(setting.name))
    return None


def ways_to_show(incomplete: str) -> list[str]:
    """Return the words of ``--ui``."""
    from ..ui import KINDS

    return _that_begin(incomplete, KINDS)


def runs(incomplete: str) -> list[str]:
    """Return the ids of the runs that a report can be made of, the newest first."""
    from ..commands.report import runs_of

    folders = runs_of(Path(default_state_dir(os.environ)))
    return _that_begin(incomplete, (folder.name for folder in folders))


def _from_catalogue(name: str) -> list[str]:
    # Only here: it takes as long as all the rest.
    from .. import catalog

    part, *more = _IN_CATALOGUE[name]
    loaded = catalog.load()
    rows = loaded.tiers["tiers"] if part == "tiers" else loaded.models["models"]
    return [*more, *(str(row["id"]) for row in rows)]


def _that_begin(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]
