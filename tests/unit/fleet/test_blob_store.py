"""The controller's blobs: by digest, to members, in ranges; and a fetch that lives on them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from urllib.parse import quote

import pytest

from dream_runner.fleet.blob_store import Server, Store, Wanted, wanted
from dream_runner.module_utils.dream_core.errors import IntegrityError, NetworkError, UsageError
from dream_runner.module_utils.dream_core.fetch import blob_server
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.repair import PIECE
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network

CONTENT = random.Random(1).randbytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    path = tmp_path / "origin.gguf"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def server(tmp_path: Path, origin: Path) -> Iterator[Server]:
    store = Store(tmp_path)
    store.provide(Wanted("m", DIGEST, len(CONTENT), (f"file://{origin}",)), Network(), print)
    with Server(store, str(tmp_path / "blobs.sock"), "127.0.0.1") as running:
        yield running


def ask(
    server: Server, path: str = f"/blobs/{DIGEST}", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
    try:
        given = {"Authorization": f"Bearer {server.token}", **headers}
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in given.items()})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_whole_parts_and_heads(server: Server) -> None:
    status, headers, body = ask(server)
    assert (status, headers["ETag"], body) == (200, f'"{DIGEST}"', CONTENT)
    status, headers, body = ask(server, Range="bytes=10-19")
    assert (status, body) == (206, CONTENT[10:20])
    assert headers["Content-Range"] == f"bytes 10-19/{len(CONTENT)}"
    assert ask(server, Range="bytes=2999990-")[2] == CONTENT[-10:]
    assert ask(server, Range=f"bytes={len(CONTENT)}-")[0] == 416
    assert ask(server, Range="bytes=5-2")[0] == 416
    assert ask(server, Range="bytes=0-9", If_Range='"another"')[0] == 200
    status, headers, body = ask(server, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize(
    "path",
    ["/", "/blobs/", "/blobs/" + "0" * 64, f"/blobs/../blobs/{DIGEST}", "/etc/passwd",
     f"/blobs/{DIGEST}/..", f"/blobs/{DIGEST.upper()}"],
)  # fmt: skip
def test_nothing_else_has_a_name(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic x", "Bearer \xff"])
def test_who_is_no_member_gets_nothing(server: Server, header: str) -> None:
    assert ask(server, Authorization=header)[0] == 401


def test_the_digests_of_the_pieces_are_told_to_members(server: Server) -> None:
    parts = [CONTENT[at : at + PIECE] for at in range(0, len(CONTENT), PIECE)]
    told = b"".join(hashlib.sha256(part).digest() for part in parts)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(server, f"/blobs/{DIGEST}/pieces"), range(8)))
    assert {body for _, _, body in answers} == {told}
    assert ask(server, f"/blobs/{DIGEST}/pieces", method="HEAD")[2] == b""
    assert ask(server, f"/blobs/{DIGEST}/pieces", Authorization="Bearer wrong")[0] == 401
    assert ask(server, f"/blobs/{'0' * 64}/pieces")[0] == 404
    assert blob_server.PIECE_BYTES == PIECE


def test_other_methods_are_refused(server: Server) -> None:
    assert ask(server, method="POST")[0] == 501


def peers(server: Server, tmp_path: Path) -> tuple[str, ...]:
    return tuple(server.peers(str(tmp_path / "blobs.sock")))


def request(path: Path, sources: tuple[str, ...], network: Network) -> FetchRequest:
    return FetchRequest(str(path), DIGEST, sources, len(CONTENT), network=network)


@pytest.mark.parametrize("way", [0, 1])
def test_a_fetch_takes_the_peer_and_asks_no_origin(
    server: Server, tmp_path: Path, way: int
) -> None:
    peer = peers(server, tmp_path)[way]
    network = Network(
        proxies={"http": "http://127.0.0.1:1"}, peers=(peer,), peer_token=server.token
    )
    sources = (peer + "/blobs/{sha256}", "http://127.0.0.1:1/never")
    done = fetch(request(tmp_path / "got", sources, network))
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert done.bytes_fetched == len(CONTENT)
    assert server.bytes_served == len(CONTENT)
    assert server.token not in done.source


def test_the_token_goes_to_peers_only(server: Server, tmp_path: Path) -> None:
    """The same server under a name that is no peer's: it must not see the token."""
    network = Network(peers=("http+unix://%2Fnowhere",), peer_token=server.token)
    with pytest.raises(NetworkError):
        fetch(request(tmp_path / "got", (f"{server.url}/blobs/{DIGEST}",), network))


def test_a_peer_that_lies_costs_its_bytes_and_no_more(tmp_path: Path, origin: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(CONTENT[:1_000_000] + bytes(1_000_000) + CONTENT[2_000_000:])

    class Wrong(Store):
        def open(self, sha256: str) -> IO[bytes]:
            return wrong.open("rb")

    with Server(Wrong(tmp_path), str(tmp_path / "liar.sock")) as liar:
        (peer,) = liar.peers(str(tmp_path / "liar.sock"))
        network = Network(peers=(peer,), peer_token=liar.token)
        fetch(request(tmp_path / "got", (f"{peer}/blobs/{DIGEST}", str(origin)), network))
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_peer_that_is_gone_leaves_the_origin(tmp_path: Path, origin: Path) -> None:
    peer = f"http+unix://{quote(str(tmp_path / 'gone.sock'), safe='')}"
    network = Network(peers=(peer,), peer_token="t")
    fetch(request(tmp_path / "got", (f"{peer}/blobs/{DIGEST}", str(origin)), network))
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_local_file_must_be_what_its_digest_says(tmp_path: Path, origin: Path) -> None:
    origin.write_bytes(b"other")
    with pytest.raises(IntegrityError):
        Store(tmp_path).provide(Wanted("m", DIGEST, 0, (f"file://{origin}",)), Network(), print)


def test_each_digest_is_wanted_once() -> None:
    model = {"files": [{"file": "m", "sha256": DIGEST, "size_bytes": 1, "urls": ["https://x/m"]}]}
    assert len(wanted([model, model])) == 1


@pytest.mark.parametrize("address", ["192.0.2.1", "127.0.0.1:http", "nonsense.invalid:1"])
def test_an_address_that_is_not_ours_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        Server(Store(tmp_path), str(tmp_path / "s.sock"), address)


def test_a_client_that_hangs_up_harms_nobody(server: Server) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"GET /blobs/{DIGEST} HTTP/1.1\r\nAuthorization: Bearer {server.token}\r\n\r\n"
        client.sendall(head.encode())
        client.recv(10)
    assert ask(server)[0] == 200


def test_a_stranger_is_hung_up_on(server: Server) -> None:
    server.stranger_seconds = 0.3
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(b"GET /blobs/x HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            drip(client)


def drip(client: socket.socket) -> None:
    """Send a byte now and then: that must not keep the place."""
    for _ in range(50):
        client.sendall(b"X-Slow: 1\r\n")
        time.sleep(0.1)


def test_nobody_has_more_than_a_share_of_the_places(server: Server) -> None:
    server.most_of_one = 2
    host, _, port = server.url.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection((host, int(port))))
        third = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
        assert third.recv(1) == b""
    wait = time.monotonic() + 5
    while time.monotonic() < wait:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            assert ask(server)[0] == 200
            return
    pytest.fail("the places were not given back")
