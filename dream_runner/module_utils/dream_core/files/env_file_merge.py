"""Merge ``.env`` without losing anything that others wrote.

There are three layers (installer-phases 7.3): managed keys follow the settings, defaults fill gaps,
and every other line (unknown keys, comments, order, lines without an assignment) is kept. Secrets
are created once.
"""

from __future__ import annotations

import base64
import re
import secrets as random
from dataclasses import dataclass
from typing import List, Mapping, Optional, Tuple

from .env_file import ASSIGNMENT, parse
from .text_file import plain

#: Number of the layout, for migrations by later versions.
SCHEMA_KEY = "DREAM_ENV_SCHEMA"
SCHEMA = "1"
PLAIN = re.compile(r"^[A-Za-z0-9_@%+=:,./-]*$")
_HEADER = "# Written by dream-runner. Your own keys, comments and order are kept."


@dataclass(frozen=True)
class Merged:
    """The new text and the changes by key; only ``text`` contains values."""

    text: str
    added: Tuple[str, ...]
    updated: Tuple[str, ...]
    generated: Tuple[str, ...]

    def changed_from(self, before: str) -> bool:
        """Return whether the file must be written."""
        return self.text != before


def merge(
    text: str,
    *,
    managed: Mapping[str, str],
    defaults: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Merged:
    """Merge our keys into ``text``.

    ``secrets`` maps a key to the form of its value (``secret``); an existing value is always kept.
    """
    text = plain(text)
    values = parse(text)
    wanted = {SCHEMA_KEY: SCHEMA, **managed}
    generated = [key for key in secrets if not values.get(key)]
    fresh = {key: secret(secrets[key]) for key in generated}
    gaps = {key: value for key, value in defaults.items() if key not in values}
    # Not splitlines, which also splits at characters that can be part of a value.
    lines = text.rstrip("\n").split("\n") if text.strip() else [_HEADER]
    updates = {key: value for key, value in wanted.items() if values.get(key) != value}
    updated = [key for key in updates if key in values]
    added = [key for key in (*wanted, *gaps) if key not in values]
    lines = _replace(lines, {**updates, **fresh})
    lines += [
        "%s=%s" % (key, _quote(value))
        for key, value in {**wanted, **gaps, **fresh}.items()
        if key not in values
    ]
    return Merged("\n".join(lines) + "\n", tuple(added), tuple(updated), tuple(generated))


def _replace(lines: List[str], updates: Mapping[str, str]) -> List[str]:
    """Replace the values of existing lines in place."""
    return [_renewed(line, updates) for line in lines]


def _renewed(line: str, updates: Mapping[str, str]) -> str:
    match = ASSIGNMENT.match(line)
    if not match or match.group(1) not in updates:
        return line
    return "%s=%s" % (match.group(1), _quote(updates[match.group(1)]))


def _quote(value: str) -> str:
    """Quote a value for compose and for a shell; single quotes keep it literal."""
    if "\n" in value or "'" in value:
        raise ValueError("a value in .env cannot contain a line break or a single quote")
    return value if PLAIN.match(value) else "'%s'" % value


def secret(form: str) -> str:
    """Return a new random secret: ``hex:N`` or ``base64:N`` of N bytes, ``PREFIX|hex:N``."""
    prefix, _, rest = form.rpartition("|")
    kind, _, size = rest.partition(":")
    content = random.token_bytes(int(size))
    if kind == "hex":
        return prefix + content.hex()
    if kind == "base64":
        return prefix + base64.urlsafe_b64encode(content).decode().rstrip("=")
    raise ValueError("unknown form of a secret: %s" % form)


def recover(text: str, backup: str, secrets: Mapping[str, str]) -> str:
    """Add the secrets that only ``backup`` has to ``text``.

    A text without any secret is a lost or emptied file: the backup replaces it as a whole,
    including the lines of the user.
    """
    if len(missing_secrets(text, secrets)) == len(secrets):
        return backup
    text = plain(text)
    saved = parse(backup)
    found = {key: saved[key] for key in missing_secrets(text, secrets) if saved.get(key)}
    kept = [line for line in text.rstrip("\n").split("\n") if not _is_one_of(line, found)]
    kept += ["%s=%s" % (key, _quote(value)) for key, value in found.items()]
    return "\n".join(kept) + "\n"


def _is_one_of(line: str, keys: Mapping[str, str]) -> bool:
    match = ASSIGNMENT.match(line)
    return bool(match) and match.group(1) in keys  # type: ignore[union-attr]


def missing_secrets(text: Optional[str], secrets: Mapping[str, str]) -> List[str]:
    """Return the secrets that ``text`` lacks."""
    values = parse(text or "")
    return [key for key in secrets if not values.get(key)]
