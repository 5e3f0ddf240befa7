"""Check a document against the form that its readers rely on.

A state file may have been changed in any way. A file that parses can still hold a list in place of
a text; one check when it is read saves every reader that check. A form is a predicate: it takes a
value and returns what is wrong, or an empty string.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Optional

Form = Callable[[Any], str]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_plain(value: Any) -> bool:
    """Return whether ``value`` is text without control characters, as a name or path must be."""
    return isinstance(value, str) and not _CONTROL.search(value)


def anything(value: Any) -> str:
    """Accept every value."""
    return ""


def text(value: Any) -> str:
    """Accept any text."""
    return "" if isinstance(value, str) else "is not text"


def name(value: Any) -> str:
    """Accept text without control characters."""
    return "" if is_plain(value) else "is not a name"


def path(value: Any) -> str:
    """Accept an absolute path."""
    return "" if is_plain(value) and value.startswith("/") else "is not an absolute path"


def flag(value: Any) -> str:
    """Accept true and false."""
    return "" if isinstance(value, bool) else "is not true or false"


def whole(value: Any) -> str:
    """Accept a whole number in the range of a 64-bit file size or time."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if is_whole and abs(value) < 2**63 else "is not a whole number"


def number(value: Any) -> str:
    """Accept a finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "" if is_number and abs(value) < 2**63 else "is not a number"


def port(value: Any) -> str:
    """Accept a TCP port as a number or, as templates write it, as text."""
    is_digits = isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value)
    is_port = is_digits or not whole(value)
    return "" if is_port and 0 <= int(value) < 65536 else "is not a port"


def mode(value: Any) -> str:
    """Accept a file mode as octal text."""
    is_mode = isinstance(value, str) and re.fullmatch(r"0?[0-7]{3,4}", value)
    return "" if is_mode else "is not a file mode"


def maybe(form: Form) -> Form:
    """Return a form that also accepts null."""
    return lambda value: "" if value is None else form(value)


def list_of(form: Form) -> Form:
    """Return the form of a list with items of ``form``."""

    def check(value: Any) -> str:
        if not isinstance(value, list):
            return "is not a list"
        return next((problem for problem in map(form, value) if problem), "")

    return check


def map_of(form: Form) -> Form:
    """Return the form of an object with values of ``form``."""

    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return "is not an object"
        problems = ((key, form(item)) for key, item in value.items())
        return next(("%s %s" % (key, why) for key, why in problems if why), "")

    return check


def fields(required: Mapping[str, Form], optional: Optional[Mapping[str, Form]] = None) -> Form:
    """Return the form of an object; fields that are not named may hold anything."""

    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return "is not an object"
        for key, form in required.items():
            why = form(value[key]) if key in value else "is missing"
            if why:
                return "%s %s" % (key, why)
        for key, form in (optional or {}).items():
            why = form(value[key]) if key in value else ""
            if why:
                return "%s %s" % (key, why)
        return ""

    return check
