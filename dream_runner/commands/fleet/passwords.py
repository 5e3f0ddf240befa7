"""Read the SSH and sudo passwords from the terminal or a file."""

from __future__ import annotations

import os
import stat

from ... import wording
from ...fleet.session import HostAccess, Passwords
from ...module_utils.dream_core.errors import UsageError
from ...module_utils.dream_core.files import text_file
from ...ui import terminal


def ask_passwords(access: HostAccess, count: int) -> Passwords:
    """Return the passwords, read from files or typed, for ``count`` hosts."""
    hosts = wording.plural(count, "host")
    return Passwords(
        login=one_password(access.ask_pass, access.password_file, f"SSH password for {hosts}: "),
        become=one_password(
            access.ask_become_pass, access.become_password_file, f"[sudo] password on {hosts}: "
        ),
    )


def one_password(ask: bool, file: str, prompt: str) -> str | None:
    """Return the password from ``file``, or ask for it; None without both."""
    if file:
        return _from_file(file)
    if not ask:
        return None
    password = terminal.password(prompt)
    if password is None:
        raise UsageError(
            "cannot ask for a password: there is no terminal",
            code="NO_TERMINAL",
            hint="use a file or a descriptor, for example --become-password-file /dev/fd/3",
        )
    return password


#: In characters. It also limits what is read from an endless descriptor.
_LONGEST_PASSWORD = 4096


def _from_file(path: str) -> str:
    """Return the first line of a descriptor, or of a file that only its owner can read."""
    try:
        with open(path, encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            # Read one line only: a descriptor may be a pipe or an endless device.
            password = text_file.plain(stream.readline(_LONGEST_PASSWORD)).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}", code="PASSWORD_FILE") from None
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        raise UsageError(
            f"other users can read {path}", code="PASSWORD_FILE", hint=f"run: chmod 600 {path}"
        )
    if not password:
        raise UsageError(f"{path} is empty", code="PASSWORD_FILE")
    return password
