"""Read untrusted YAML with limits on its size, and with the parser's reason on errors.

A few bytes of YAML can expand to billions of values (aliases) or a thousand levels, so the
parser's events are counted before the document is built.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .module_utils.dream_core.files import text_file
from .module_utils.dream_core.files.text_file import Unreadable

#: The safe loader, in C if available.
SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_VALUES = 500_000
_DEEPEST = 64


def read(
    path: str | Path, limit: int = text_file.LIMIT_BYTES, loader: type[Any] = SafeLoader
) -> Any:
    """Return the document in a file. Raises Unreadable, with the line if known."""
    return parse(text_file.read(path, limit), loader)


def check(text: str) -> None:
    """Raise Unreadable for invalid or too large YAML; unknown tags are allowed."""
    _guarded(text, lambda: None)


def parse(text: str, loader: type[Any] = SafeLoader) -> Any:
    """Return the document in ``text``, or None if it is empty. Raises Unreadable."""
    # A safe loader, or a subclass of it.
    return _guarded(text, lambda: yaml.load(text, Loader=loader))  # noqa: S506


def _guarded(text: str, build: Callable[[], Any]) -> Any:
    try:
        _require_bounds(text)
        return build()
    except yaml.YAMLError as error:
        raise Unreadable(reason(error, text)) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except (ValueError, OverflowError, TypeError, LookupError, AttributeError):
        # For example February 31, or a number with five thousand digits.
        raise Unreadable("it contains an invalid date or number", "put it in quotes") from None


def reason(error: yaml.YAMLError, text: str = "") -> str:
    """Return the line and the parser's reason, without an excerpt of the file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem is None:
        # Errors of the reader and our own have no line.
        problem = str(error).splitlines()[0] if str(error) else "it is not YAML"
    words = ", ".join(filter(None, (getattr(error, "context", None), str(problem)[:160])))
    if mark is None:
        return words
    line = "".join(text.split("\n")[mark.line : mark.line + 1])
    if "\t" in line[: len(line) - len(line.lstrip())]:
        words = "it has a tab where YAML allows only spaces"
    return f"line {mark.line + 1}: {words}"


def _require_bounds(text: str) -> None:
    """Raise Unreadable for too many levels or values; aliases count as expanded."""
    sizes: dict[str, int] = {}
    open_ones: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=SafeLoader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((anchor, 1))
            size = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_ones.pop()
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in open_ones):
                raise Unreadable("an alias contains itself", "write it out")
            # The loader reports an undefined alias with its line.
            size, anchor = sizes.get(str(anchor), 0), None
        else:
            size = int(isinstance(event, yaml.ScalarEvent))
        if anchor is not None and not isinstance(event, yaml.CollectionStartEvent):
            sizes[anchor] = size
        holder, total = open_ones[-1]
        open_ones[-1] = (holder, total + size)
        if total + size >= _MOST_VALUES:
            raise Unreadable("its aliases expand to too many values", "write them out")
        if len(open_ones) > _DEEPEST:
            raise Unreadable("it is nested too deeply")
