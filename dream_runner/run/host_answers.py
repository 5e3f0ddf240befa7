"""Check the types and characters of a host's answer before anything is decided.

A compromised host must harm only itself: an invalid answer is rejected as a whole, and none
of its values is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..module_utils.dream_core.errors import NetworkError

#: Exceptions that our code raises for documents of another shape.
NONSENSE = (LookupError, TypeError, ValueError, AttributeError, RecursionError)

_LARGEST = 2**62
_LONGEST_PATH = 4096

#: Install directories are used in unit files, compose files and command lines.
_INSTALL_DIR = re.compile(r"""/(?:(?!\s[;#])[^\x00-\x1f\x7f:"'`$%\\])*""")
_INTERPRETER = re.compile(r"(/[\w.+@-]+)+|python3(\.\d{1,3})?", re.ASCII)
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}", re.ASCII)
_URL = re.compile(r"(https?://[\w.:\[\]-]{1,255}(/[\w./~-]{0,255})?)?", re.ASCII)
_USER = re.compile(r"[\w.@+\\-]{1,256}\$?")
_ACCOUNT = re.compile(r"([0-9a-f]{32})?", re.ASCII)
_FILE = re.compile(r"[^/\x00-\x1f\x7f]{1,255}")

Check = Callable[[Any], bool]


def _text(pattern: re.Pattern[str]) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, str) and pattern.fullmatch(value) is not None

    return check


def _is_path(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value.startswith("/")
        and len(value) <= _LONGEST_PATH
        and value.isprintable()
        and ".." not in value.split("/")
    )


def _is_install_dir(value: Any) -> bool:
    return _is_path(value) and _INSTALL_DIR.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_present(value: Any) -> bool:
    named = _text(_FILE)
    return isinstance(value, dict) and all(
        named(name) and _is_number(size) for name, size in value.items()
    )


def _is_sudo(value: Any) -> bool:
    return value in ("root", "passwordless", "password", "none")


#: The observed state of a host (``dream_core/look/host.py``).
CONTEXT: Mapping[str, Check] = {
    "install_dir": _is_install_dir,
    "facts": _is_table,
    "session.uid": _is_number,
    "session.gid": _is_number,
    "session.user": _text(_USER),
    "session.home": _is_path,
    "session.is_root": _is_flag,
    "session.sudo": _is_sudo,
    "session.user_manager": _is_flag,
    "receipts": _is_table,
    "drift": _is_table,
    "listeners": _is_list,
    "notes": _is_list,
}

#: The additional fields of a fleet visit (``dream_core/look/fleet_visit.py``).
VISIT: Mapping[str, Check] = {
    "install_dir": _is_install_dir,
    "state_dir": _is_path,
    "home": _is_path,
    "account": _text(_ACCOUNT),
    "python": _text(_VERSION),
    "interpreter": _text(_INTERPRETER),
    "present": _is_present,
    "filesystem.free_bytes": _is_number_or_none,
    "engine.url": _text(_URL),
    "engine.answers": _is_flag,
    "loads_engine": _is_flag,
    "lingers": _is_flag,
    **{f"context.{name}": check for name, check in CONTEXT.items()},
}


def require(document: Any, table: Mapping[str, Check]) -> None:
    """Raise NetworkError HOST_GARBAGE with the name of the first invalid field."""
    for name, check in table.items():
        if not _holds(document, name, check):
            raise garbage(name)


def garbage(where: object) -> NetworkError:
    """Return the error for an invalid field, or for an exception that the answer caused."""
    reason = type(where).__name__ if isinstance(where, Exception) else str(where)
    return NetworkError(
        f"the host's answer is invalid: {reason}",
        code="HOST_GARBAGE",
        hint="log in to the host and run 'dream-runner doctor'",
    )


def _holds(document: Any, name: str, check: Check) -> bool:
    value = document
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return check(value)
