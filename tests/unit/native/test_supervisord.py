"""Whoever asks the supervisor closes the socket, whatever the answer was."""

from __future__ import annotations

import gc
import socketserver
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest

from dream_runner.module_utils.dream_core.native import supervisord_state


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/", "/RPC2")
    # A Unix socket has no address of a peer, and no delay to switch off.
    disable_nagle_algorithm = False

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass


class _Daemon(socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    logRequests = False

    def __init__(self, path: str) -> None:
        SimpleXMLRPCDispatcher.__init__(self, allow_none=True)
        super().__init__(path, _Handler)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "s.sock")
    with _Daemon(path) as server:
        server.register_function(lambda name: {"statename": name}, "supervisor.getProcessInfo")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect what the garbage collector finds open."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda item: found.append(str(item.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield found


def test_an_answer(daemon: str, left_open: list[str]) -> None:
    for _ in range(3):
        assert supervisord_state.ask(daemon, "getProcessInfo", "engine") == {"statename": "engine"}
    gc.collect()
    assert left_open == []


def test_a_fault_and_nobody(daemon: str, left_open: list[str], tmp_path: Path) -> None:
    assert isinstance(supervisord_state.ask(daemon, "noSuchMethod"), Exception)
    assert supervisord_state.ask(str(tmp_path / "none.sock"), "getState") is None
    assert supervisord_state.ask(str(tmp_path / "no-folder" / "s.sock"), "getState") is None
    (tmp_path / "file").write_text("")
    assert supervisord_state.ask(str(tmp_path / "file"), "getState") is None
    gc.collect()
    assert left_open == []
