"""Questions on a real terminal: the controlling one, wherever stdin comes from."""

import os
import subprocess
import sys
from typing import Any

import pexpect
import pytest

ASK = """
from dream_runner.ui import terminal
print("answer:", terminal.ask("Continue?", ("y", "n", "explain"), "y"))
"""


def spawn(code: str, redirect: str = "") -> Any:
    """Run Python code on a terminal of its own, below a shell as a pipe would be."""
    return pexpect.spawn(
        "/bin/sh",
        ["-c", f'exec "$0" -c "$1" {redirect}', sys.executable, code],
        encoding="utf-8",
        timeout=20,
    )


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("", "y"), ("y", "y"), ("Y", "y"), ("yes", "y"), ("n", "n"), ("NO", "n"), ("e", "explain")],
)
def test_answers(typed: str, answer: str) -> None:
    child = spawn(ASK)
    child.expect_exact("Continue? [Y/n/explain] ")
    child.sendline(typed)
    child.expect_exact(f"answer: {answer}")
    child.close()


def test_asked_although_stdin_is_a_pipe() -> None:
    child = spawn(ASK, "< /dev/null")
    child.expect_exact("Continue? [Y/n/explain] ")
    child.sendline("n")
    child.expect_exact("answer: n")
    child.close()


def test_asked_although_output_goes_elsewhere() -> None:
    child = spawn(ASK, "> /dev/null 2>&1")
    child.expect_exact("Continue? [Y/n/explain] ")
    child.sendline("n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_nonsense_is_asked_again_three_times() -> None:
    child = spawn(ASK)
    for _ in range(3):
        child.expect_exact("Continue? [Y/n/explain] ")
        child.sendline("perhaps")
        child.expect_exact("Please answer y, n or explain.")
    child.expect_exact("answer: None")
    child.close()


def test_end_of_input_is_nobody() -> None:
    child = spawn(ASK)
    child.expect_exact("[Y/n/explain] ")
    child.sendeof()
    child.expect_exact("answer: None")
    child.close()


def test_no_terminal_never_asks() -> None:
    """A session without a controlling terminal, as under cron or in CI (catalogue row C3)."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "answer: None\n"


def test_in_the_background_never_asks() -> None:
    """Reading the terminal from the background would stop the process for good."""
    code = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        f"code = {ASK!r}\n"
        "subprocess.run([sys.executable, '-c', code], process_group=0, timeout=10)\n"
    )
    child = spawn(code)
    child.expect_exact("answer: None")
    child.close()


def test_password_is_not_echoed() -> None:
    code = (
        "from dream_runner.ui import terminal\n"
        "print('length', len(terminal.password('Password: ')))\n"
    )
    child = spawn(code, "< /dev/null")
    child.expect_exact("Password: ")
    child.waitnoecho(timeout=10)
    child.sendline("swordfish")
    child.expect_exact("length 9")
    assert "swordfish" not in child.before
    child.close()


def test_this_test_has_somewhere_to_run() -> None:
    assert os.path.exists("/dev/tty")
