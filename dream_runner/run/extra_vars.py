"""Pass variables to Ansible as data. This is the only place that does it.

Ansible evaluates ``{{ }}`` in every string of an extra-vars file. Data comes from users, files,
environments and hosts, so each of its strings is marked as unsafe, which Ansible never
evaluates. Only constant expressions of this program are passed as templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.printable import printable

#: Ansible's JSON mark of a string that is not a template (``!unsafe`` in YAML).
_UNSAFE = "__ansible_unsafe"
#: Prefix of keys that are special for Ansible's decoder; none of our variables has it.
_RESERVED = "__ansible_"


def document(data: Mapping[str, Any], templates: Mapping[str, Any] | None = None) -> str:
    """Return the text of an extra-vars file. Raises UsageError for text that is not UTF-8.

    ``templates`` are constants of this program and may contain expressions; they override ``data``.
    """
    try:
        return json.dumps({**unsafe(data), **(templates or {})})
    except UnicodeEncodeError as error:
        raise UsageError(
            "a path or setting is not valid UTF-8",
            code="TEXT_NOT_UTF8",
            where=printable(error.object),
            hint="rename it, or use another one",
        ) from None


def unsafe(value: Any) -> Any:
    """Return plain data with every string marked. Raises ValueError for a reserved key."""
    if isinstance(value, str):
        return {_UNSAFE: _encodable(value)}
    if isinstance(value, Mapping):
        return {_key(key): unsafe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [unsafe(item) for item in value]
    return value


def _key(key: Any) -> str:
    text = str(key)
    if text.startswith(_RESERVED):
        raise ValueError("a variable's name begins with " + _RESERVED)
    return _encodable(text)


def _encodable(text: str) -> str:
    """Return the text. Raises UnicodeEncodeError if UTF-8 cannot encode it (half a pair)."""
    text.encode("utf-8")
    return text
