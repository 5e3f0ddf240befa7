"""What sudo would do for Ansible, asked as Ansible asks: without ticket, terminal, password."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.system import account

#: A sudo with a warm ticket for the caller's session, as Debian's is for 15 minutes.
WARM = """#!/bin/sh
case " $* " in *" -k "*) ;; *) exit 0 ;; esac
echo 'sudo: a password is required' >&2; exit 1
"""
SAYS = "#!/bin/sh\necho '{}' >&2\nexit 1\n"
#: Wants what Ansible's workers lack.
OWN_SESSION = """#!/bin/sh
[ "$(ps -o sid= -p $$ | tr -d ' ')" = "{}" ] && exit 0
echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1
"""


def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    program = tmp_path / "sudo"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(account.tools, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 12345)


def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[str, str]:
    sudo(tmp_path, monkeypatch, text)
    found = account.gather_session()
    return found["sudo"], found["sudo_why"]


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("#!/bin/sh\nexit 0\n", "passwordless", ""),
        (WARM, "password", ""),
        (SAYS.format("sudo: a password is required"), "password", ""),
        (SAYS.format("sudo: sorry, you must have a tty to run sudo"), "none", "requiretty"),
        (SAYS.format("ada is not in the sudoers file."), "none", "not in the sudoers"),
        # A rule that allows `true` but no shell: Ansible needs the shell.
        ('#!/bin/sh\ncase "$*" in *true) exit 0 ;; esac\n'
         "echo Sorry, user ada is not allowed to execute /bin/sh >&2; exit 1\n",
         "none", "does not allow"),
    ],
)  # fmt: skip
def test_judged_by_what_sudo_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: str, why: str
) -> None:
    found = judged(tmp_path, monkeypatch, text)
    assert found[0] == kind
    assert why in found[1]


def test_sudo_is_asked_outside_of_the_callers_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = OWN_SESSION.format(os.getsid(0))
    assert judged(tmp_path, monkeypatch, text)[0] == "none"


def test_no_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.tools, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert account.gather_session()["sudo_why"] == "sudo is not installed"
