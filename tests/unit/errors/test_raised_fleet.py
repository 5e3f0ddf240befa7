"""What is wrong with the hosts of a fleet, and with how they were to be reached."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dream_runner.commands.fleet import install as command
from dream_runner.commands.fleet import passwords
from dream_runner.fleet import blob_store, ssh_errors, visit_hosts
from dream_runner.fleet.inventory.hosts import InventoryHost, Source
from dream_runner.fleet.results import FleetOutcome
from dream_runner.fleet.seen import Seen
from dream_runner.fleet.session import Fleet, Passwords
from dream_runner.fleet.ssh_sockets import Wires
from dream_runner.module_utils.dream_core.errors import DreamError, NetworkError
from dream_runner.module_utils.dream_core.look import fleet_visit
from dream_runner.plugins.action import dream_survey
from dream_runner.run.results import HostResult
from dream_runner.settings.values import Chosen, Settings
from unit.errors.raising import told


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    host = InventoryHost("web1")
    wires = Wires([host], lambda _: None)
    settings = Settings({"profile": Chosen("native", "default", "default")})
    source = Source((), "")
    yield Fleet("run", tmp_path, source, {"web1": host}, {"web1": settings}, wires, Passwords(), {})
    wires.close()


@pytest.mark.parametrize(
    ("said", "code", "exit_code"),
    [
        ("REMOTE HOST IDENTIFICATION HAS CHANGED!", "HOST_KEY_CHANGED", 5),
        ("ssh: Could not resolve hostname web1", "HOST_UNKNOWN", 5),
        ("kex_exchange_identification: read: reset by peer", "HOST_GARBAGE", 5),
        (
            "Connection timed out during banner exchange\n"
            "Connection to UNKNOWN port 65535 timed out",
            "HOST_UNREACHABLE",
            5,
        ),
        (
            "kex_exchange_identification: Connection closed by remote host\n"
            "Connection closed by UNKNOWN port 65535",
            "HOST_UNREACHABLE",
            5,
        ),
        (
            "banner exchange: Connection to UNKNOWN port 65535: invalid format",
            "HOST_GARBAGE",
            5,
        ),
        ("Permission denied (publickey)", "LOGIN_REFUSED", 4),
        ("ssh: connect to host web1 port 22: No route", "HOST_UNREACHABLE", 5),
    ],
)
def test_what_ssh_says(said: str, code: str, exit_code: int, fleet: Fleet) -> None:
    unreachable = NetworkError(said, code="HOST_UNREACHABLE")
    error = ssh_errors.explained(unreachable, fleet, "web1")
    assert (error.code, error.exit_code) == (code, exit_code)


def seen(fleet: Fleet, directory: Path) -> DreamError:
    found = visit_hosts.read_answer(fleet, "web1", directory, None, visit_hosts.Options())
    assert isinstance(found, DreamError)
    return found


def test_a_host_that_left_no_answer_or_nonsense(fleet: Fleet, tmp_path: Path) -> None:
    error = seen(fleet, tmp_path)
    assert (error.code, error.exit_code) == ("HOST_NOT_SEEN", 1)
    (tmp_path / "web1.json").write_text('{"engine": 5}')
    error = seen(fleet, tmp_path)
    assert (error.code, error.exit_code) == ("HOST_GARBAGE", 5)


def test_the_home_of_the_login_user() -> None:
    home = SimpleNamespace(
        document={"home": "/home/u"}, places=lambda: {"dream_install_dir": "/home/u"}, before=None
    )
    assert told(visit_hosts.refuse_places, home, visit_hosts.Options()) == (
        "INSTALL_DIR_REFUSED",
        2,
    )


def test_hosts_that_cannot_be_worked_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def visited() -> tuple[str, int]:
        line = str(tmp_path / "no-such-socket")
        place = {"state_dir": str(tmp_path), "install_dir": str(tmp_path / "ai")}
        return told(fleet_visit.visit, **place, version="1", socket=line, save=False)

    assert visited() == ("HOST_NO_FORWARDING", 3)
    monkeypatch.setattr(fleet_visit, "OLDEST_PYTHON", (99, 0))
    assert visited() == ("HOST_PYTHON_OLD", 3)


def test_a_host_without_python() -> None:
    answer = dream_survey.answer_of_failure(
        {"rc": 127, "module_stderr": "/bin/sh: python3: not found"}, False
    )
    assert answer["dream_error"]["code"] == "HOST_NO_PYTHON"
    assert answer["dream_error"]["exit_code"] == 3
    # Where it may be installed, that is no failure.
    assert "failed" not in dream_survey.answer_of_failure({"rc": 127}, True)


@pytest.mark.parametrize("address", ["nonsense:port", "203.0.113.9:0", "127.0.0.1:99999"])
def test_an_address_that_is_not_ours(address: str, tmp_path: Path) -> None:
    store: Any = blob_store.Store(tmp_path)
    path = str(tmp_path / "s.sock")
    assert told(blob_store.Server, store, path, address) == ("SERVE_ADDRESS", 2)


def test_a_host_without_sudo() -> None:
    class Bare(Seen):
        needs_root = True
        sudo = "none"

    seen: Any = Bare("a", Settings({}), {})
    fleet: Any = SimpleNamespace(passwords=Passwords(), hosts={"a": InventoryHost("a")})

    def raised() -> None:
        raise command.without_sudo({"a": seen}, fleet)["a"]

    assert told(raised) == ("SUDO_MISSING", 4)


def test_a_local_file_that_is_another(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"one")
    digest = hashlib.sha256(b"two").hexdigest()
    item = blob_store.Wanted("m", digest, 3, (f"file://{tmp_path}/m",))
    store: Any = blob_store.Store(tmp_path)
    assert told(store.provide, item, None, None) == ("LOCAL_FILE_WRONG", 7)


def test_a_password_that_nobody_can_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.terminal, "password", lambda _: None)
    assert told(passwords.one_password, True, "", "password: ") == ("NO_TERMINAL", 2)


@pytest.mark.parametrize(
    ("states", "code", "exit_code"),
    [
        (["done", "failed"], "FLEET_FAILED", 13),
        (["done", "untouched"], "FLEET_FAILED", 13),
        (["degraded", "reboot"], "FLEET_REBOOT", 10),
        (["done", "degraded"], "FLEET_DEGRADED", 11),
    ],
)
def test_how_a_fleet_ends(states: list[str], code: str, exit_code: int) -> None:
    hosts = [HostResult(f"h{at}", state, "wave 1") for at, state in enumerate(states)]
    error = FleetOutcome("install", "run", "/runs/run", hosts).error
    assert error is not None
    assert (error.code, error.exit_code) == (code, exit_code)
