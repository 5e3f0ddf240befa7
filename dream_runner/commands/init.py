"""``dream-runner init``: an answers file with every setting, explained and commented out."""

from __future__ import annotations

import os
import textwrap
from typing import Any

from ..machine import output_file
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.system import atomic
from ..settings.table import SETTINGS, Setting

_HEAD = """\
# Answers for dream-runner. To use this file:
#
#     dream-runner install --answers {name}
#
# All settings with their defaults. Remove the '# ' in front of a setting to change it.
# Command-line options, environment variables (DREAM_ENGINE_PORT=...) and the choices that an
# earlier run saved from them take precedence over this file.
# To use it with 'ansible-playbook -e @{name}', put 'dream_' before each name.
"""
_WIDTH = 96


def run(path: str, *, force: bool) -> str:
    """Write the file and return its absolute path.

    Raises UsageError FILE_EXISTS if the file exists and ``force`` is not set,
    DiskError or PrivilegeError if it cannot be written.
    """
    target = os.path.abspath(path)
    if os.path.lexists(target) and not force:
        raise UsageError(
            f"{target} already exists; it was not changed",
            code="FILE_EXISTS",
            hint="use another name, or --force to overwrite it",
        )
    target = output_file.require(path)
    atomic.write_bytes(target, text(os.path.basename(target)).encode(), 0o644)
    return target


def text(name: str) -> str:
    """Return the content of the file, from the table of settings."""
    groups = dict.fromkeys(setting.group for setting in SETTINGS)
    parts = [_HEAD.format(name=name)]
    for group in groups:
        parts.append(f"\n# --- {group} ---\n")
        parts += [_entry(setting) for setting in SETTINGS if setting.group == group]
    return "\n".join(parts)


def _entry(setting: Setting) -> str:
    lines = [f"# {line}" for line in textwrap.wrap(setting.help, _WIDTH)]
    lines.append(f"# One of: {', '.join(setting.choices)}." if setting.choices else "")
    lines.append(f"# {setting.name}: {_yaml(setting.default)}")
    return "\n".join(filter(None, lines)) + "\n"


def _yaml(value: Any) -> str:
    """Return a default as YAML; without quotes if YAML then reads the same value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "[]" if value == [] else '""' if value == "" else str(value)


def as_json(path: str) -> dict[str, Any]:
    """Return what ``init --json`` prints."""
    return {"path": path, "settings": [setting.name for setting in SETTINGS]}


def as_text(path: str) -> str:
    """Return the path of the file and what to do next."""
    return f"Wrote {path}.\nEdit it, then run: dream-runner install --answers {path}"
