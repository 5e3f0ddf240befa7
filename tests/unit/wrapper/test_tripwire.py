"""Offline fails closed: who asks for the network is refused, and named."""

import os
import subprocess
import sys

import pytest

from dream_runner import tripwire

ASK = """
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=20)
except OSError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("url", ["http://packages.invalid/x", "http://user:secret@models.invalid/"])
def test_a_program_that_asks_is_refused_and_named(url: str) -> None:
    with tripwire.armed(True) as trap:
        done = subprocess.run(
            [sys.executable, "-I", "-c", ASK, url],
            env={"PATH": os.environ["PATH"], **trap.environment},
            capture_output=True,
            text=True,
        )
    assert "403" in done.stderr
    assert trap.error is not None
    assert trap.error.code == "OFFLINE_NETWORK"
    assert "python" in trap.error.what
    assert ".invalid" in trap.error.what
    assert ":secret" not in trap.error.what


def test_this_machine_is_no_network() -> None:
    with tripwire.armed(True) as trap:
        assert "127.0.0.1" in trap.environment["NO_PROXY"]
    assert trap.error is None


def test_online_nothing_is_touched() -> None:
    with tripwire.armed(False) as trap:
        assert (trap.environment, trap.error) == ({}, None)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["-I", "-m", "pip", "install", "secret"], "-m pip"),
        (["-I", "/usr/share/pip.whl/pip", "install", "secret"], "pip"),
        (["-I", "-c", "secret"], ""),
        ([], ""),
    ],
)
def test_of_python_the_program_is_named_and_no_argument(words: list[str], shown: str) -> None:
    assert tripwire._of_python(words) == shown
