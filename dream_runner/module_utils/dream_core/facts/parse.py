"""Strict parsers for the output of kernels and tools: a value or None, never a guess.

Unknown is None and never 0, because a 0 would enter sums and comparisons like a measured value
(H3).
"""

from __future__ import annotations

import re
from typing import Any, List, Optional

from ..types.facts import Unchecked

#: No machine has more (1 EiB); a larger number is an error of its source.
_MOST_BYTES = 1 << 60

MIB = 1024 * 1024


def whole(value: Any) -> Optional[int]:
    """Return a whole number >= 0 from a number or its decimal or 0x text, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    if isinstance(value, int):
        return value if 0 <= value <= _MOST_BYTES else None
    text = value.strip()
    if not re.fullmatch(r"(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})", text, re.ASCII):
        return None
    number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    return number if number <= _MOST_BYTES else None


def bytes_to_mb(value: Any) -> Optional[int]:
    """Return MiB, rounded down, from a number of bytes; None for unknown or 0."""
    number = whole(value)
    return number // MIB or None if number else None


def mib(value: Any) -> Optional[int]:
    """Return the number in ``24564 MiB``; None for ``[N/A]`` and any other form.

    Numbers with separators (``24.564 MiB``, ``24 564 MiB``) are rejected: their meaning depends on
    the locale.
    """
    match = re.fullmatch(r"([0-9]{1,9}) MiB", string(value) or "", re.ASCII)
    return int(match.group(1)) or None if match else None


def string(value: Any) -> Optional[str]:
    """Return trimmed, printable text of at most 200 characters, or None."""
    if not isinstance(value, str):
        return None
    text = "".join(c for c in value if c.isprintable()).strip()[:200]
    return None if text in ("", "[N/A]", "N/A", "[Not Supported]", "Unknown Error") else text


def mapping(value: Any) -> Unchecked:
    """Return ``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> List[Any]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: Any) -> List[Unchecked]:
    """Return the mappings in a list, in their order."""
    return [item for item in rows(value) if isinstance(item, dict)]


def lines(value: Any) -> List[str]:
    """Return the lines of a text; none if it is not text."""
    return value.splitlines() if isinstance(value, str) else []


def excerpt(answer: Any) -> str:
    """Return the beginning of a tool's output, from either stream, as one line."""
    answer = mapping(answer)
    for stream in ("stdout", "stderr"):
        for line in lines(answer.get(stream)):
            if line.strip():
                return (string(line) or "")[:120]
    return ""


def slot(value: Any) -> Optional[str]:
    """Return a PCI address as sysfs writes it (``0000:65:00.0``), or None.

    NVIDIA writes the domain with eight digits in upper case.
    """
    match = re.fullmatch(
        r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?", (string(value) or "").lower()
    )
    if match is None:
        return None
    return "%04x:%s:%s.%s" % (int(match[1], 16), match[2], match[3], match[4] or "0")
