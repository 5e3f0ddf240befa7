"""The passwords for logging in and for becoming root: typed, or from a file."""

from __future__ import annotations

import os
import stat

from ... import wording
from ...fleet.session import HostAccess, Passwords
from ...module_utils.dream_core.errors import UsageError
from ...module_utils.dream_core.files import text_file
from ...ui import terminal


def ask_passwords(access: HostAccess, count: int) -> Passwords:
    """Return the passwords that are read from files or typed; ``count`` hosts get them."""
    hosts = wording.plural(count, "host")
    return Passwords(
        login=_password(access.ask_pass, access.password_file, f"SSH password for {hosts}: "),
        become=_password(
            access.ask_become_pass, access.become_password_file, f"[sudo] password on {hosts}: "
        ),
    )


def _password(ask: bool, file: str, prompt: str) -> str | None:
    if file:
        return _from_file(file)
    if not ask:
        return None
    password = terminal.password(prompt)
    if password is None:
        raise UsageError(
            "nobody is here to type a password",
            code="NO_TERMINAL",
            hint="give a file or a descriptor: --become-password-file /dev/fd/3",
        )
    return password


#: In characters; also what is read of a descriptor without an end.
_LONGEST_PASSWORD = 4096


def _from_file(path: str) -> str:
    """Return the first line of a file that only its owner can read, or of a descriptor."""
    try:
        with open(path, encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            # A descriptor may be a pipe, and a device has no end.
            password = text_file.plain(stream.readline(_LONGEST_PASSWORD)).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not text in UTF-8"
        raise UsageError(f"{path} cannot be read: {reason}", code="PASSWORD_FILE") from None
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        raise UsageError(
            f"{path} can be read by others", code="PASSWORD_FILE", hint=f"chmod 600 {path}"
        )
    if not password:
        raise UsageError(f"{path} is empty", code="PASSWORD_FILE")
    return password
