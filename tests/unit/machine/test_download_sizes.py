"""How large a file is, asked before it is fetched, never believed later."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner.machine import download_sizes
from dream_runner.module_utils.dream_core.fetch.request import Network

SIZE = 98_362_432


class Hub(http.server.BaseHTTPRequestHandler):
    """Knows the size of a file whose bytes nobody here has."""

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        self.server.asked.append(kind)  # type: ignore[attr-defined]
        if kind == "silent":
            time.sleep(5)
            return
        if kind == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "/ranges")
            self.send_header("Content-Length", "0")
        elif kind == "ranges":
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-0/{SIZE}")
            self.send_header("Content-Length", "1")
        elif kind == "whole":
            self.send_response(200)
            self.send_header("Content-Length", str(SIZE))
        elif kind == "endless":
            self.send_response(200)
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
        self.end_headers()
        if kind == "ranges":
            self.wfile.write(b"G")
        elif kind in ("whole", "endless"):
            self.wfile.write(b"GGUF" * 16)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.daemon_threads = [], True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    yield server
    server.shutdown()
    server.server_close()


def item(name: str, *urls: str) -> dict[str, Any]:
    return {"file": name, "sha256": "a" * 64, "urls": list(urls)}


@pytest.mark.parametrize(
    ("kinds", "size"),
    [
        (["ranges"], SIZE),
        (["whole"], SIZE),
        (["elsewhere"], SIZE),
        (["missing", "whole"], SIZE),
        (["endless"], 0),
        (["missing"], 0),
    ],
)
def test_what_servers_tell(hub: Any, kinds: list[str], size: int) -> None:
    found = download_sizes.ask([item("m", *(hub.url + kind for kind in kinds))], Network())
    assert found.get("m", 0) == size


def test_nobody_is_waited_for(hub: Any) -> None:
    began = time.monotonic()
    files = [item("a", hub.url + "silent"), item("b", hub.url + "ranges")]
    files.append(item("c", "http://127.0.0.1:9/closed"))
    assert download_sizes.ask(files, Network(), seconds=1) == {"b": SIZE}
    assert time.monotonic() - began < 3


def test_a_file_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 123)
    assert download_sizes.ask([item("m.gguf", f"file://{path}")], Network()) == {"m.gguf": 123}
    assert download_sizes.ask([item("n", f"file://{tmp_path}/none")], Network()) == {}
