"""Write an environment file; env_file_merge.py decides its content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from .. import arguments
from ..errors import IntegrityError, UsageError
from ..system import atomic
from . import env_file, env_file_merge, text_file

MODE = 0o600
#: Maximum size; a larger file is not a file of settings.
_LIMIT = 1024 * 1024


#: The options of the module dream_env.
SPEC = {
    "path": {"type": arguments.path, "required": True},
    "managed": {"type": "dict", "default": {}},
    "defaults": {"type": "dict", "default": {}},
    # The forms of secrets, not their values.
    "secrets": {"type": "dict", "default": {}, "no_log": False},
    "dormant": {"type": "dict", "default": {}, "no_log": False},
    "marked": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "proof_of_data": {"type": "list", "elements": arguments.path, "default": []},
}


def carry_out(params: Mapping[str, Any], *, write: bool) -> Dict[str, Any]:
    """Run a dream_env task, in this process or in the module. Raises DreamError."""
    done = settle(
        params["path"],
        managed={key: str(value) for key, value in params["managed"].items()},
        defaults={key: str(value) for key, value in params["defaults"].items()},
        secrets=params["secrets"],
        dormant=params["dormant"],
        has_data=any(os.path.exists(path) for path in params["proof_of_data"]),
        write=write,
    )
    marks = _marks(params["path"], params["marked"])
    names = "".join(
        "%s %s\n" % (word, key) for word in ("added", "updated", "generated") for key in done[word]
    )
    return dict(done, marks=marks, diff={"before": "", "after": names})


def _marks(path: str, names: Sequence[str]) -> Dict[str, str]:
    """Return a short digest of each named secret, which shows only whether it changed."""
    values = env_file.parse(_read(path) or "") if names else {}
    return {
        name: hashlib.sha256(values[name].encode("utf-8", "surrogateescape")).hexdigest()[:12]
        for name in names
        if values.get(name)
    }


def settle(
    path: str,
    *,
    managed: Mapping[str, str],
    defaults: Mapping[str, str],
    secrets: Mapping[str, str],
    has_data: bool,
    write: bool,
    dormant: Optional[Mapping[str, str]] = None,
) -> Dict[str, Any]:
    """Merge the file and replace it if it differs; return the names of the changed keys.

    ``dormant`` secrets are kept and recovered like the others, but never created. The previous
    content stays in ``PATH.bak``. Raises IntegrityError SECRETS_LOST if ``has_data`` and neither
    file nor backup contains any secret. If only some are missing, a newer version has added them,
    and they are created.
    """
    opened = write and _opened(path)
    known = {**secrets, **(dormant or {})}
    before, restored = _content(path, known)
    if has_data and len(env_file_merge.missing_secrets(before, known)) == len(known) > 0:
        raise IntegrityError(
            "%s has lost the secrets that existing data depends on" % path,
            code="SECRETS_LOST",
            where=path,
            hint="restore the file from a backup; with new secrets you could not access the data",
        )
    try:
        merged = env_file_merge.merge(before, managed=managed, defaults=defaults, secrets=secrets)
    except ValueError as error:
        raise UsageError(
            str(error), code="ENV_VALUE", where=path, hint="choose another value"
        ) from error
    must_write = restored or merged.changed_from(before) or _mode(path) != MODE
    if must_write and write:
        _replace(path, before, merged.text, restored)
    return {
        "changed": must_write or opened,
        "added": list(merged.added),
        "updated": list(merged.updated),
        "generated": list(merged.generated),
        "restored": restored,
    }


def _opened(path: str) -> bool:
    """Restore the mode of our file if it is unreadable, because its secrets must not be lost."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    closed = stat.S_ISREG(status.st_mode) and not status.st_mode & stat.S_IRUSR
    if not closed or status.st_uid != os.geteuid():
        return False
    os.chmod(path, MODE)
    return True


def _replace(path: str, before: str, after: str, restored: bool) -> None:
    # The backup first: at every moment one of the two files has the secrets.
    if before and not restored:
        atomic.write_bytes(path + ".bak", before.encode("utf-8", "surrogateescape"), MODE)
    atomic.write_bytes(path, after.encode("utf-8", "surrogateescape"), MODE)


def _content(path: str, secrets: Mapping[str, str]) -> Tuple[str, bool]:
    """Return the present content, and whether it came from the backup."""
    now = _read(path) or ""
    if not env_file_merge.missing_secrets(now, secrets):
        return now, False
    backup = _read(path + ".bak") or ""
    if len(env_file_merge.missing_secrets(backup, secrets)) == len(secrets):
        return now, False
    recovered = env_file_merge.recover(now, backup, secrets)
    return recovered, recovered != now


def _read(path: str) -> Optional[str]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_a_file(path) from error
        raise atomic.translate(error, path) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT:
            raise _not_a_file(path)
        with os.fdopen(os.dup(handle), "rb") as stream:
            return _text(stream.read(), path)
    finally:
        os.close(handle)


def _text(content: bytes, path: str) -> str:
    """Return the text with its byte order mark, so that the file is rewritten without it."""
    try:
        text = text_file.decode(content, "surrogateescape")
    except text_file.Unreadable as error:
        raise UsageError(
            "%s: %s" % (path, error.reason), code="ENV_NOT_A_FILE", where=path, hint=error.hint
        ) from None
    is_plain = text.encode("utf-8", "surrogateescape") == content
    return text if is_plain else "\ufeff" + text


def _not_a_file(path: str) -> UsageError:
    return UsageError(
        "%s is not a regular file of settings" % path,
        code="ENV_NOT_A_FILE",
        where=path,
        hint="move it away, then run again",
    )


def _mode(path: str) -> Optional[int]:
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except OSError:
        return None
