"""How a fetch ends when its sources, its settings or its partial file are bad."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import Thing, make_thing

from dream_runner.module_utils.dream_core.fetch import faults
from dream_runner.module_utils.dream_core.fetch.claims import Board
from dream_runner.module_utils.dream_core.fetch.disk.journal import Binding, Journal
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.hasher import Hasher
from dream_runner.module_utils.dream_core.fetch.request import Network
from dream_runner.module_utils.dream_core.fetch.sources import address, local
from unit.errors.raising import raised, told

THING: Thing = make_thing(1000)


def ended(path: Path, source: str, **more: Any) -> tuple[str, int]:
    return told(fetch, THING.request(path / "m", source, **more))


@pytest.mark.parametrize(
    ("network", "code"),
    [
        ({"ca_file": "/nonexistent/ca.pem"}, "BAD_CA_FILE"),
        ({"proxies": {"https": "https://proxy.example:1"}}, "BAD_PROXY"),
    ],
)
def test_settings_of_the_network(network: dict[str, Any], code: str, tmp_path: Path) -> None:
    source = "https://host.example/m"
    assert ended(tmp_path, source, network=Network(**network)) == (code, 2)


def test_a_netrc_that_nobody_can_read(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine x login y passwort z\n")
    network = Network(netrc=str(tmp_path / "netrc"))
    assert told(address.authorization, "https://x/m", network, None) == ("BAD_NETRC", 2)


def test_files_as_sources(tmp_path: Path) -> None:
    assert ended(tmp_path, "file:///nonexistent/m") == ("SOURCE_MISSING", 5)
    (tmp_path / "loop").symlink_to("loop")
    assert ended(tmp_path, f"file://{tmp_path}/loop") == ("SOURCE_BROKEN", 5)


def test_a_name_without_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    assert ended(tmp_path, "http://nowhere.example/m") == ("NAME_UNRESOLVED", 5)


def test_a_status_that_says_no_and_nothing_more() -> None:
    fault = faults.from_status(418, None)
    error = faults.verdict("/m", [("https://x", fault)])
    assert (error.code, error.exit_code) == ("HTTP_REFUSED", 5)


def test_a_plain_server_behind_https(tmp_path: Path) -> None:
    with THING.villain() as server:
        url = server.url("honest").replace("http://", "https://")
        assert ended(tmp_path, url) == ("TLS_FAILED", 5)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Leads /signed to an address that has expired, and knows no part of /range."""

    def do_GET(self) -> None:
        status = {"/signed": 302, "/range": 416}.get(self.path, 403)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/expired")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("path", "code"), [("/signed", "SIGNED_URL_EXPIRED"), ("/range", "RANGE_BROKEN")]
)
def test_servers_that_refuse_for_good(path: str, code: str, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{path}"
        assert ended(tmp_path, url) == (code, 5)
        server.shutdown()


def test_a_pipe_in_place_of_the_partial(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.part")
    assert ended(tmp_path, "http://127.0.0.1:9/m") == ("NOT_A_FILE", 6)


def test_a_partial_that_somebody_shortens(tmp_path: Path) -> None:
    path = tmp_path / "m.part"
    path.write_bytes(b"x" * 10)
    board = Board(100)
    # Bytes of an earlier run, which are no longer there.
    board.done.add(0, 100)
    journal = Journal(str(path) + ".json", Binding("a" * 64, 100))
    journal.open()
    handle = os.open(path, os.O_RDWR)
    try:
        hasher = Hasher(handle, board, journal, [], lambda _: None)
        hasher.run()
    finally:
        os.close(handle)
        journal.close()
    assert getattr(board.error, "code", "") == "PARTIAL_CHANGED"


def test_every_local_file_that_cannot_be_opened_says_which_kind(tmp_path: Path) -> None:
    for name, code in (("absent", "SOURCE_MISSING"), ("x" * 300, "SOURCE_BROKEN")):
        with pytest.raises(faults.SourceFault) as caught:
            local.LocalSource(str(tmp_path / name)).open(None, 0, None, 0)
        assert caught.value.code == code
    assert raised(fetch, THING.request(tmp_path / "m")).code == "NO_SOURCE"
