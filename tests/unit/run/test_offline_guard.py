"""Offline fails closed: who asks for the network is refused, and named."""

import os
import subprocess
import sys

import pytest

from dream_runner.module_utils.dream_core.errors import RequirementError
from dream_runner.module_utils.dream_core.system import ip_addresses
from dream_runner.run import offline_guard

ASK = """
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=20)
except OSError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("url", ["http://packages.invalid/x", "http://user:secret@models.invalid/"])
def test_a_program_that_asks_is_refused_and_named(url: str) -> None:
    with offline_guard.armed(True) as trap:
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
    with offline_guard.armed(True) as trap:
        assert "127.0.0.1" in trap.environment["NO_PROXY"]
    assert trap.error is None


def test_online_nothing_is_touched() -> None:
    with offline_guard.armed(False) as trap:
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
    assert offline_guard.python_program(words) == shown


@pytest.mark.skipif(not ip_addresses.has("::1"), reason="this machine has no ::1")
def test_a_machine_that_has_the_other_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ip_addresses, "loopbacks", lambda: ["::1"])
    with offline_guard.armed(True) as trap:
        assert trap.environment["http_proxy"].startswith("http://[::1]:")
        code = "import urllib.request; urllib.request.urlopen('http://example.test/')"
        environment = {**os.environ, **trap.environment}
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert "requested example.test" in trap.attempts[0]


def test_a_machine_without_any_loopback_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was an unexpected OSError, 'this is a bug' (FC2-19)."""
    monkeypatch.setattr(ip_addresses, "loopbacks", list)
    wanted = pytest.raises(RequirementError, match=r"no loopback address")
    with wanted as caught, offline_guard.armed(True):
        raise AssertionError("there is nothing to listen on")
    assert caught.value.code == "ADDRESS_MISSING"
