"""The captures of tests/fixtures/captures: one file each, with what is expected of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "fixtures" / "captures"

NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _content(name: str) -> Any:
    return yaml.load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"), Loader=_LOADER)


def load(name: str) -> dict[str, Any]:
    """Return a capture by name, to be changed at will."""
    return yaml_copy(_content(name))


def yaml_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: yaml_copy(item) for key, item in value.items()}
    return [yaml_copy(item) for item in value] if isinstance(value, list) else value
