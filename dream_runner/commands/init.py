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
# Answers for dream-runner. Use this file with
#
#     dream-runner install --answers {name}
#
# Every setting is here with what it is when nobody says otherwise; take away the '# ' before
# one to set it. Flags, the environment (DREAM_ENGINE_PORT=...) and choices of an earlier run by
# those go before this file.
# 'ansible-playbook -e @{name}' reads it too, with 'dream_' before each name.
"""
_WIDTH = 96


def run(path: str, *, force: bool) -> str:
    """Write the file and return its absolute path.

    Raises UsageError FILE_EXISTS rather than write over anything, but for ``force``;
    DiskError or PrivilegeError where it cannot be written.
    """
    target = os.path.abspath(path)
    if os.path.lexists(target) and not force:
        raise UsageError(
            f"{target} is there already; it was left alone",
            code="FILE_EXISTS",
            hint="give another name, or --force to write over it",
        )
    target = output_file.require(path)
    atomic.write_bytes(target, text(os.path.basename(target)).encode(), 0o644)
    return target


def text(name: str) -> str:
    """Return the content of the file, made from the table of settings."""
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
    """Return a default as YAML; plain where YAML reads the plain form as the same."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "[]" if value == [] else '""' if value == "" else str(value)


def as_json(path: str) -> dict[str, Any]:
    """Return what ``init --json`` prints."""
    return {"path": path, "settings": [setting.name for setting in SETTINGS]}


def as_text(path: str) -> str:
    """Return where the file is and what to do with it."""
    return f"written: {path}\nNow edit it, then: dream-runner install --answers {path}"
