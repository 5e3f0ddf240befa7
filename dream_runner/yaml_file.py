"""Read YAML that somebody else wrote: bounded before it is built, with the parser's own reason.

A few bytes of YAML can stand for billions of values (aliases) or a thousand levels, so the events
of the parser are counted first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .module_utils.dream_core.files import text_file
from .module_utils.dream_core.files.text_file import Unreadable

#: The safe loader, in C where PyYAML was built so.
SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MOST_VALUES = 500_000
_DEEPEST = 64


def read(
    path: str | Path, limit: int = text_file.LIMIT_BYTES, loader: type[Any] = SafeLoader
) -> Any:
    """Return the document in a file. Raises Unreadable, with the line where there is one."""
    return parse(text_file.read(path, limit), loader)


def check(text: str) -> None:
    """Raise Unreadable for what is no YAML, or stands for too much; tags may be anybody's."""
    _guarded(text, lambda: None)


def parse(text: str, loader: type[Any] = SafeLoader) -> Any:
    """Return the document in ``text``, or None where it is empty. Raises Unreadable."""
    # A safe loader, or one made of it.
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
        # Such as the 31st of February, or a number of five thousand digits.
        raise Unreadable("it contains an invalid date or number", "put it in quotes") from None


def reason(error: yaml.YAMLError, text: str = "") -> str:
    """Return the line and the parser's reason, without an excerpt of the file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem is None:
        # A reader's error tells the character by its number, ours have no mark.
        problem = str(error).splitlines()[0] if str(error) else "it is not YAML"
    words = ", ".join(filter(None, (getattr(error, "context", None), str(problem)[:160])))
    if mark is None:
        return words
    line = "".join(text.split("\n")[mark.line : mark.line + 1])
    if "\t" in line[: len(line) - len(line.lstrip())]:
        words = "it has a tab where YAML allows only spaces"
    return f"line {mark.line + 1}: {words}"


def _require_bounds(text: str) -> None:
    """Raise Unreadable for too many values, aliases counted in full, or too many levels."""
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
            # Of one that is not defined the loader tells the line.
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
