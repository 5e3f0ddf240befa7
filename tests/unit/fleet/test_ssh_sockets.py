"""The sockets between controller and hosts: who may say what, and how long it holds."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dream_runner.fleet import ssh_sockets as module
from dream_runner.fleet.inventory.hosts import InventoryHost
from dream_runner.fleet.ssh_sockets import Wires, event_in
from dream_runner.module_utils.dream_core.system import lifeline
from dream_runner.module_utils.dream_core.system.lifeline import Lifeline
from dream_runner.run.events import Event, Notice, Progress


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def wires(heard: list[Event]) -> Iterator[Wires]:
    made = Wires([InventoryHost("a"), InventoryHost("b")], heard.append)
    yield made
    made.close()
    assert not made.directory.exists()


def until(test: object, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not test() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.02)
    assert test()  # type: ignore[operator]


def test_a_host_speaks_for_itself_only(wires: Wires, heard: list[Event]) -> None:
    with Lifeline(wires["a"].local, "models", host="b") as line:
        line.progress("model\x1b[2J.gguf", 1, 2, 3.0)
        line.notice("all\nwell", "warning")
        until(lambda: len(heard) == 2)
    progress, notice = heard
    assert isinstance(progress, Progress)
    assert (progress.host, progress.what, progress.done) == ("a", "model [2J.gguf", 1)
    assert isinstance(notice, Notice)
    assert (notice.host, notice.text) == ("a", "all well")


def send_without_end(client: socket.socket) -> None:
    while True:
        client.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"[]",
        b"\xff\xfe",
        b"[" * 15000,
        b'{"type": "progress", "time": 0, "host": "a", "phase": "", "what": "", "done": NaN, '
        b'"total": 1e400, "rate": -1}',
        json.dumps({"type": "run_finished", "time": 0, "host": "a", "ok": 1, "changed": 0,
                    "failed": 0, "skipped": 0, "unreachable": 0}).encode(),
        json.dumps({"type": "progress", "time": 0, "host": "a", "phase": "", "what": "",
                    "done": "x", "total": 0, "rate": 0}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_progress_is_dropped(line: bytes) -> None:
    assert event_in(line, "a") is None


def test_an_endless_line_ends_the_connection(wires: Wires, heard: list[Event]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(wires["a"].local)
        client.settimeout(5)
        with pytest.raises(ConnectionError):
            send_without_end(client)
    assert heard == []


def test_cutting_the_wires_ends_who_holds_one(wires: Wires) -> None:
    lost = threading.Event()
    with Lifeline(wires["b"].local, on_lost=lost.set):
        assert not lost.wait(0.3)
        wires.cut()
        assert lost.wait(5)


def test_a_lease_that_is_not_renewed_ends_too(tmp_path: Path) -> None:
    lost = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with Lifeline(str(tmp_path / "s"), on_lost=lost.set):
            connection, _ = server.accept()
            connection.sendall(b'{"lease_seconds": 0.4}\n')
            for _ in range(4):
                time.sleep(0.2)
                connection.sendall(b'{"lease_seconds": 0.4}\n')
            assert not lost.is_set()
            assert lost.wait(2)
            connection.close()


def test_names_without_a_listener_are_swept_and_others_stay(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as dead:
        live.bind(str(tmp_path / "x-live.sock"))
        live.listen()
        dead.bind(str(tmp_path / "x-dead.sock"))
        (tmp_path / "x-file.sock").touch()
        lifeline.sweep(str(tmp_path / "x-*.sock"))
        left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["x-file.sock", "x-live.sock"]


def test_our_ssh_options_stand_before_those_of_the_inventory() -> None:
    host = InventoryHost("a", connection={"ansible_ssh_args": "-o StrictHostKeyChecking=no"})
    made = Wires([host], lambda event: None)
    try:
        words = made.ssh_args("a").split()
        assert words.index("StrictHostKeyChecking=yes") < words.index("StrictHostKeyChecking=no")
        assert "-R" not in words
    finally:
        made.close()


def test_directories_of_killed_runs_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    dead, live = tmp_path / f"{module.PREFIX}4194999-x", tmp_path / f"{module.PREFIX}1-x"
    dead.mkdir()
    live.mkdir()
    module.sweep()
    assert [path.name for path in tmp_path.iterdir()] == [live.name]
