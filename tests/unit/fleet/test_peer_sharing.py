"""Hosts as sources: what a host serves, for how long, and what one costs that dies or lies."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from dream_runner.fleet import peer_sharing as module
from dream_runner.fleet.blob_store import Server, Store, Wanted
from dream_runner.fleet.peer_sharing import Offer, Shares, base_url_in, served
from dream_runner.module_utils.dream_core.fetch import blob_server
from dream_runner.module_utils.dream_core.fetch.blob_server import PIECE_BYTES, Shelf
from dream_runner.module_utils.dream_core.fetch.disk.partial import Partial
from dream_runner.module_utils.dream_core.fetch.disk.stamp import write_stamp
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network, Patience
from dream_runner.module_utils.dream_core.fetch.sources.web import HttpSource

CONTENT = random.Random(2).randbytes(6_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
#: What sshd would say, were the host this machine.
HERE = {**os.environ, "SSH_CONNECTION": "127.0.0.1 40000 127.0.0.1 22"}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    (directory / "m.gguf").write_bytes(CONTENT)
    write_stamp(str(directory / "m.gguf"), DIGEST)
    return directory


class Ways:
    """Stands for ssh: the program runs here, as it would run there."""

    def __init__(self) -> None:
        self.hung_up: list[str] = []

    def command(self, name: str, words: str) -> list[str] | None:
        return ["sh", "-c", words] if name != "gone" else None

    def close_connection(self, name: str) -> None:
        self.hung_up.append(name)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    monkeypatch.setenv("SSH_CONNECTION", HERE["SSH_CONNECTION"])
    # Of a real host this address would be refused: it would send its peers to themselves.
    monkeypatch.setattr(module, "base_url_in", _understood_here)
    return Ways()


def _understood_here(line: bytes) -> str:
    return f"http://127.0.0.1:{json.loads(line)['port']}" if line else ""


def shares(ways: Ways, models: Path, *names: str, token: str = "t") -> Shares:
    offer = Offer(sys.executable, str(models), {DIGEST: "m.gguf"})
    return Shares(ways, token, dict.fromkeys(names, offer))  # type: ignore[arg-type]


def get(url: str, path: str = f"/blobs/{DIGEST}", token: str = "t") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# --- what a host serves ---------------------------------------------------------------


def test_a_host_serves_what_it_verified_to_members(ways: Ways, models: Path) -> None:
    with shares(ways, models, "a", "b", "gone") as sharing:
        assert sharing.begin("a")
        assert not sharing.begin("gone")
        assert not sharing.begin("unheard of")
        (url,) = sharing.peers("b")
        assert sharing.peers("a") == []
        assert get(url) == (200, CONTENT)
        assert get(url, token="another")[0] == 401
        assert get(url, "/blobs/" + "0" * 64)[0] == 404
        assert get(url, "/m.gguf")[0] == 404
    assert sharing.bytes_served == len(CONTENT)
    assert ways.hung_up == ["a"]
    with pytest.raises(OSError, match="refused"):
        get(url)


def test_no_sharer_is_asked_by_all(ways: Ways, models: Path) -> None:
    names = [f"host{number}" for number in range(5)]
    with shares(ways, models, *names) as sharing:
        assert all(sharing.begin(name) for name in names)
        first = {sharing.peers(name)[0] for name in names}
        assert all(len(sharing.peers(name)) == 3 for name in names)
        assert len(first) > 1


def test_the_token_is_on_no_command_line(ways: Ways, models: Path) -> None:
    with shares(ways, models, "a", token="secret-of-this-run") as sharing:
        assert sharing.begin("a")
        running = psutil.Process().children(recursive=True)
        assert any("library.run(" in word for child in running for word in child.cmdline())
        for child in running:
            assert not any("secret-of-this-run" in word for word in child.cmdline())
            assert "secret-of-this-run" not in child.environ().values()


def program(models: Path, **more: Any) -> subprocess.Popen[bytes]:
    request = {
        "library": Path(blob_server.__file__).read_text(),
        "token": "t",
        "directory": str(models),
        "files": {DIGEST: "m.gguf"},
        "port": 0,
        "lease": 60,
        **more,
    }
    pipe = subprocess.PIPE
    command = [sys.executable, "-I", "-c", module.PROGRAM]
    running = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=HERE)
    assert running.stdin
    running.stdin.write(json.dumps(request).encode() + b"\n")
    running.stdin.flush()
    return running


def test_it_ends_when_the_connection_does(models: Path) -> None:
    with program(models) as running:
        assert running.stdout
        assert json.loads(running.stdout.readline())["address"] == "127.0.0.1"
        assert running.poll() is None
        running.stdin.close()  # type: ignore[union-attr]
        assert running.wait(10) == 0


def test_it_ends_when_nobody_speaks_to_it(models: Path) -> None:
    with program(models, lease=1.0) as running:
        began = time.monotonic()
        assert running.wait(10) == 0
        assert time.monotonic() - began >= 1.0


def test_a_host_without_the_file_serves_nothing(models: Path) -> None:
    (models / "m.gguf").write_bytes(b"changed since")
    with program(models) as running:
        assert running.wait(10)
        assert running.stderr
        assert b"none of the files is present and verified" in running.stderr.read()


# --- never outside its directory ------------------------------------------------------


def shelf_of(models: Path, name: str) -> IO[bytes] | None:
    return Shelf(str(models), {DIGEST: name}).open(DIGEST)


def _link(models: Path) -> str:
    (models / "real").mkdir()
    (models / "m.gguf").rename(models / "real" / "m.gguf")
    (models / "m.gguf").symlink_to(models / "real" / "m.gguf")
    write_stamp(str(models / "m.gguf"), DIGEST)
    return "m.gguf"


def _pipe(models: Path) -> str:
    (models / "m.gguf").unlink()
    os.mkfifo(models / "m.gguf")
    return "m.gguf"


def _outside(models: Path) -> str:
    (models.parent / "m.gguf").write_bytes(CONTENT)
    write_stamp(str(models.parent / "m.gguf"), DIGEST)
    return "../m.gguf"


def _unstamped(models: Path) -> str:
    (models / ".m.gguf.stamp").unlink()
    return "m.gguf"


def _of_another_digest(models: Path) -> str:
    write_stamp(str(models / "m.gguf"), "0" * 64)
    return "m.gguf"


def _changed(models: Path) -> str:
    with (models / "m.gguf").open("r+b") as stream:
        stream.write(b"x")
    return "m.gguf"


@pytest.mark.parametrize(
    "spoil", [_link, _pipe, _outside, _unstamped, _of_another_digest, _changed]
)
def test_what_is_not_a_verified_file_of_the_directory_is_not_served(
    models: Path, spoil: Callable[[Path], str]
) -> None:
    stream = shelf_of(models, "m.gguf")
    assert stream
    stream.close()
    assert shelf_of(models, spoil(models)) is None


# --- what a host says of itself -------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "url"),
    [
        (b'{"address": "10.0.0.5", "port": 8000}', "http://10.0.0.5:8000"),
        (b'{"address": "2001:db8::5", "port": 8000}', "http://[2001:db8::5]:8000"),
        (b'{"address": "127.0.0.1", "port": 8000}', ""),
        (b'{"address": "169.254.169.254", "port": 80}', ""),
        (b'{"address": "fe80::1%eth0", "port": 80}', ""),
        (b'{"address": "0.0.0.0", "port": 80}', ""),
        (b'{"address": "10.0.0.5/x", "port": 80}', ""),
        (b'{"address": "10.0.0.5", "port": 0}', ""),
        (b'{"address": "10.0.0.5", "port": true}', ""),
        (b'{"address": "10.0.0.5", "port": "80/x"}', ""),
        (b'{"address": 5}', ""),
        (b"[" * 4000, ""),
        (b"", ""),
    ],
)
def test_where_a_host_serves_is_checked(line: bytes, url: str) -> None:
    assert base_url_in(line) == url


@pytest.mark.parametrize("line", [b"", b"x", b'{"served": -1}', b'{"served": 1e400}', b"[1]"])
def test_nonsense_counts_nothing(line: bytes) -> None:
    assert served(line) == 0


# --- a fetch that lives on them -------------------------------------------------------


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    origin = tmp_path / "origin.gguf"
    origin.write_bytes(CONTENT)
    store = Store(tmp_path)
    store.provide(Wanted("m", DIGEST, len(CONTENT), (f"file://{origin}",)), Network(), print)
    with Server(store, str(tmp_path / "blobs.sock")) as running:
        yield running, running.peers(str(tmp_path / "blobs.sock"))[0]


def fetched(path: Path, token: str, *peers: str) -> bytes:
    """Fetch from the peers; an origin that must not be asked comes last."""
    network = Network(peers=peers, peer_token=token)
    sources = (*(f"{peer}/blobs/{{sha256}}" for peer in peers), "http://127.0.0.1:1/never")
    request = FetchRequest(str(path), DIGEST, sources, len(CONTENT), network=network)
    done = fetch(replace(request, patience=Patience(backoff_seconds=0.01)))
    assert "never" not in done.source
    return path.read_bytes()


def test_a_sharer_is_asked_before_the_controller(
    ways: Ways, models: Path, tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    with shares(ways, models, "a", "b", token=server.token) as sharing:
        assert sharing.begin("a")
        assert fetched(tmp_path / "got", server.token, *sharing.peers("b"), url) == CONTENT
    assert (server.bytes_served, sharing.bytes_served) == (0, len(CONTENT))


class Bad(http.server.ThreadingHTTPServer):
    """A sharer that sends ``content``, breaks off in the middle of it, or sends elsewhere."""

    def __init__(self, content: bytes, *, most: int = 2**40, location: str = "") -> None:
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.asked += 1
                if location:
                    self.send_response(302)
                    self.send_header("Location", location)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                start, end = int(first), int(last) + 1 if last else len(content)
                self.send_response(206)
                self.send_header("Content-Length", str(end - start))
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
                self.end_headers()
                part = content[start : min(end, most)]
                self.wfile.write(part)
                owner.sent += len(part)
                if end > most:
                    self.close_connection = True

            def log_message(self, *arguments: Any) -> None:
                pass

        self.sent = self.asked = 0
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *arguments: Any) -> None:
        self.shutdown()
        self.server_close()


def test_a_sharer_that_dies_costs_what_it_did_not_send(
    tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    half = len(CONTENT) // 2
    with Bad(CONTENT, most=half) as dying:
        began = time.monotonic()
        assert fetched(tmp_path / "got", server.token, dying.url, url) == CONTENT
    assert time.monotonic() - began < 10
    # What it sent is kept, and it is not asked again and again.
    assert server.bytes_served <= len(CONTENT) - half + 1024 * 1024
    assert dying.sent >= half


def test_a_sharer_that_lies_costs_what_it_lied_about(
    tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    # Of pieces 1 and 2.
    wrong = CONTENT[:2_000_000] + bytes(1_000_000) + CONTENT[3_000_000:]
    with Bad(wrong) as liar:
        assert fetched(tmp_path / "got", server.token, liar.url, url) == CONTENT
        assert liar.sent == len(CONTENT)
    assert server.bytes_served == 2 * PIECE_BYTES


def test_an_honest_sharer_mends_what_another_lied_about(
    tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    wrong = bytes(100) + CONTENT[100:-100] + bytes(100)
    with Bad(wrong) as liar, Bad(CONTENT) as honest:
        assert fetched(tmp_path / "got", server.token, liar.url, honest.url, url) == CONTENT
    assert server.bytes_served == 0
    assert honest.sent == PIECE_BYTES + len(CONTENT) % PIECE_BYTES


def test_two_that_lie_differently_cost_what_they_lied_about(
    tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    first = bytes(100) + CONTENT[100:]
    second = bytes(PIECE_BYTES) + CONTENT[PIECE_BYTES:]
    with Bad(first) as liar, Bad(second) as other:
        assert fetched(tmp_path / "got", server.token, liar.url, other.url, url) == CONTENT
        assert other.sent == PIECE_BYTES
    assert server.bytes_served == PIECE_BYTES


def test_all_wrong_is_one_pass_of_the_controller(
    tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    with Bad(bytes(len(CONTENT))) as liar:
        assert fetched(tmp_path / "got", server.token, liar.url, url) == CONTENT
    assert server.bytes_served == len(CONTENT)


def test_stopped_while_mending_it_goes_on_with_what_is_left(
    tmp_path: Path, controller: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = controller
    wrong = CONTENT[: 2 * PIECE_BYTES] + bytes(len(CONTENT) - 2 * PIECE_BYTES)
    put, count = Partial.write, 0

    def stop_at_the_second(*arguments: Any) -> None:
        nonlocal count
        # Pieces are mended in this thread, and fetched in others.
        count += threading.current_thread() is threading.main_thread()
        if count == 2:
            raise KeyboardInterrupt
        put(*arguments)

    monkeypatch.setattr(Partial, "write", stop_at_the_second)
    with Bad(wrong) as liar, pytest.raises(KeyboardInterrupt):
        fetched(tmp_path / "got", server.token, liar.url, url)
    monkeypatch.undo()
    served = server.bytes_served
    assert fetched(tmp_path / "got", server.token, url) == CONTENT
    assert server.bytes_served - served == len(CONTENT) - 3 * PIECE_BYTES


def test_pieces_that_are_told_wrong_are_not_believed(
    tmp_path: Path, controller: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = controller
    monkeypatch.setattr(HttpSource, "pieces", lambda self, link, count: bytes(32 * count))
    wrong = CONTENT[:2_000_000] + bytes(1_000_000) + CONTENT[3_000_000:]
    with Bad(wrong) as liar:
        assert fetched(tmp_path / "got", server.token, liar.url, url) == CONTENT


def test_a_sharer_that_states_another_size_is_left(
    tmp_path: Path, controller: tuple[Server, str]
) -> None:
    server, url = controller
    with Bad(CONTENT + b"more") as liar:
        assert fetched(tmp_path / "got", server.token, liar.url, url) == CONTENT
    assert server.bytes_served == len(CONTENT)


@pytest.mark.parametrize("location", ["http://127.0.0.1:1/x", "http+unix://%2Frun%2Fdocker.sock/x"])
def test_a_sharer_sends_nobody_elsewhere(
    tmp_path: Path, controller: tuple[Server, str], location: str
) -> None:
    server, url = controller
    with Bad(CONTENT, location=location) as liar:
        assert fetched(tmp_path / "got", server.token, liar.url, url) == CONTENT
    assert liar.asked == 1


def test_no_origin_leads_to_a_socket_of_this_host(tmp_path: Path) -> None:
    good = tmp_path / "good.gguf"
    good.write_bytes(CONTENT)
    with Bad(CONTENT, location="http+unix://%2Frun%2Fdocker.sock/x") as origin:
        request = FetchRequest(
            str(tmp_path / "got"), DIGEST, (origin.url + "/m.gguf", str(good)), len(CONTENT)
        )
        assert fetch(request).source == f"file://{good}"
