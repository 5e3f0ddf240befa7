"""Replace secrets that no data depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..module_utils.dream_core.files import env_file, env_file_merge

#: Secrets by the prefix of their names, with the directory whose databases depend on them. A new
#: value would lock the service out of its data: only the service itself can change it.
BOUND = {"LANGFUSE_": "data/langfuse", "N8N_": "data/n8n"}


class Rotation(NamedTuple):
    """The new text, the names of replaced secrets, and the kept ones with the reason."""

    text: str
    rotated: list[str]
    kept: dict[str, str]


def rotate(text: str, forms: Mapping[str, str], bound: Mapping[str, str]) -> Rotation:
    """Return ``text`` with new values for all secrets of ``forms`` that are not ``bound``.

    Empty keys stay empty; comments, order and other keys stay.
    """
    values = env_file.parse(text)
    names = [name for name in forms if values.get(name) and name not in bound]
    blank = re.compile(
        r"^(\s*(?:export\s+)?(?:{})\s*=).*$".format("|".join(map(re.escape, names))), re.M
    )
    emptied = blank.sub(r"\1", text) if names else text
    chosen = {name: forms[name] for name in names}
    merged = env_file_merge.merge(emptied, managed={}, defaults={}, secrets=chosen)
    kept = {name: bound[name] for name in forms if values.get(name) and name in bound}
    return Rotation(merged.text if names else text, names, kept)


def bound(install_dir: str, names: Sequence[str]) -> dict[str, str]:
    """Return the secrets that existing data depends on, each with the directory of that data."""
    found = {}
    for prefix, place in BOUND.items():
        path = os.path.join(install_dir, place)
        if os.path.isdir(path) and os.listdir(path):
            found.update({name: path for name in names if name.startswith(prefix)})
    return found
