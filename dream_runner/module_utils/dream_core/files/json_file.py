"""Read and write JSON state files, whose content is never trusted."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from typing import Any, Optional, Tuple

from ..system.atomic import write_bytes

_DEEPEST = 64


def unusable(document: Any) -> str:
    """Return why a parsed document cannot be used, whatever its form, or "".

    It rejects NaN and infinity, text that cannot be encoded, and nesting that would exhaust the
    stack.
    """
    layer, depth = [document], 0
    while layer:
        if depth > _DEEPEST:
            return "it is nested more than %d levels deep" % _DEEPEST
        if any(map(_is_unusable, layer)):
            return "it contains an invalid number or invalid text"
        layer = [item for value in layer for item in _inner(value)]
        depth += 1
    return ""


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else ()


def _is_unusable(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() > 1024
    return isinstance(value, str) and not _can_be_written(value)


def _can_be_written(value: str) -> bool:
    if value.isascii():
        return True
    try:
        return bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def write_json(path: str, document: Any, mode: int = 0o600) -> None:
    """Replace ``path`` with ``document`` as sorted, indented JSON."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    try:
        content = (text + "\n").encode("utf-8")
    except UnicodeEncodeError:
        # A file name that is not UTF-8 is escaped and survives the round trip.
        content = (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("ascii")
    write_bytes(path, content, mode)


def read_json(path: str, limit: int = 16 * 1024 * 1024) -> Tuple[Optional[Any], Optional[str]]:
    """Return ``(document, None)``, or ``(None, why)`` if the file cannot be used.

    A missing file gives ``(None, None)``. A state file is only a hint, so its content never raises
    an error: a truncated, foreign or too large file, a link or a directory is a reason.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        return None, reason or str(error)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return None, "it is not a regular file"
        if status.st_size > limit:
            return None, "it is larger than %d bytes" % limit
        with os.fdopen(os.dup(handle), "rb") as stream:
            document = json.loads(stream.read().decode("utf-8"))
        why = unusable(document)
        return (None, why) if why else (document, None)
    except (OSError, ValueError, RecursionError) as error:
        return None, "it is not valid JSON (%s)" % error
    finally:
        os.close(handle)
