"""Read entries of the troubleshooting guide, for ``dream-runner explain CODE``."""

from __future__ import annotations

import difflib
import re

from .. import paths
from ..module_utils.dream_core.errors import UsageError

#: It has an entry for every error code; a test checks that.
PAGE = paths.content() / "docs" / "user" / "troubleshooting.md"

_ROW = re.compile(r"^\| (?:<a id=\"[A-Z0-9_]+\"></a>)?`([A-Z0-9_]+)` \| (.*?) \|$", re.MULTILINE)
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


def entry(code: str) -> dict[str, str]:
    """Return ``{code, about, text}`` of an error code. Raises UsageError for an unknown one."""
    page = PAGE.read_text(encoding="utf-8")
    rows = {found.group(1): found for found in _ROW.finditer(page)}
    wanted = code.upper()
    if wanted not in rows:
        close = difflib.get_close_matches(wanted, rows, n=3, cutoff=0.6)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else "the code is in the brackets of the error message"
        )
        raise UsageError(
            f"there is no error code {code!r}",
            code="USAGE",
            hint=hint,
        )
    found = rows[wanted]
    heading = [item.group(1) for item in _HEADING.finditer(page, 0, found.start())]
    about = heading[-1] if heading else ""
    return {"code": wanted, "about": about, "text": _plain(found.group(2))}


def _plain(markdown: str) -> str:
    """Return Markdown as terminal text: no links, commands in quotes."""
    return re.sub(r"`([^`]+)`", r"'\1'", _LINK.sub(r"\1", markdown))


def as_text(found: dict[str, str]) -> str:
    """Return an entry as text."""
    return f"{found['code']}: {found['about']}\n\n{found['text']}"
