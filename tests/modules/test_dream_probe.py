"""Ready means one real answer: every way not to give one is told apart from it."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .conftest import Run


class Engine(BaseHTTPRequestHandler):
    """An engine that answers with whatever the test put into the server."""

    def do_GET(self) -> None:
        if self.path == "/":
            self._page()
        else:
            self._answer(self.server.health, b"{}")  # type: ignore[attr-defined]

    def _page(self) -> None:
        """Serve a page in the one form that llama.cpp has it in."""
        body, kind = gzip.compress(b"<!doctype html>"), self.server.page  # type: ignore[attr-defined]
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            body, kind = b"Error: gzip is not supported by this browser", "text/plain"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.headers)  # type: ignore[attr-defined]
        self._answer(*self.server.completion)  # type: ignore[attr-defined]

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def engine() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.seen = []  # type: ignore[attr-defined]
    server.page = "text/html; charset=utf-8"  # type: ignore[attr-defined]
    server.health, server.completion = 200, (200, answer("hello"))  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def answer(text: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def probe(run_module: Run, engine: ThreadingHTTPServer, **more: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{engine.server_address[1]}"
    return run_module("dream_probe", url=url, model="smoke", deadline_seconds=1, **more)


def test_a_real_answer_is_success_and_no_change(run_module: Run, engine: Any) -> None:
    result = probe(run_module, engine)
    assert (result["changed"], result["answer_characters"]) == (False, 5)


@pytest.mark.parametrize(
    "completion",
    [
        (200, answer("")),
        (200, answer("  \n")),
        (200, answer(None)),
        (200, b"{}"),
        (200, b"<html>It works</html>"),
        (200, b""),
        (503, b'{"error": "loading model"}'),
        (404, b""),
    ],
)
def test_anything_else_is_no_answer(run_module: Run, engine: Any, completion: Any) -> None:
    engine.completion = completion
    result = probe(run_module, engine)
    assert result["failed"] is True
    assert result["dream_error"]["code"] == "ENGINE_NO_ANSWER"
    assert result["dream_error"]["exit_code"] == 8


def test_a_server_that_stays_busy_is_not_ready(run_module: Run, engine: Any) -> None:
    engine.health = 503
    assert probe(run_module, engine)["dream_error"]["code"] == "ENGINE_NOT_READY"


def test_nobody_there_is_not_ready_and_the_log_says_why(run_module: Run, tmp_path: Any) -> None:
    log = tmp_path / "engine.log"
    log.write_text("first\nthe model was not loaded: bad magic\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        port = server.server_address[1]
    result = run_module(
        "dream_probe",
        url=f"http://127.0.0.1:{port}",
        model="smoke",
        deadline_seconds=1,
        log=str(log),
    )
    assert result["dream_error"]["code"] == "ENGINE_NOT_READY"
    assert "bad magic" in result["dream_error"]["hint"]


def test_check_mode_asks_nobody(run_module: Run) -> None:
    result = run_module("dream_probe", check=True, url="http://127.0.0.1:1", model="smoke")
    assert result == result | {"changed": False}
    assert "failed" not in result


@pytest.mark.parametrize(("named", "code"), [("smoke", ""), ("other", "ENGINE_OTHER_MODEL")])
def test_the_model_that_answers_is_the_one_that_was_installed(
    run_module: Run, engine: Any, named: str, code: str
) -> None:
    """An engine that was not started anew still serves the former model, whatever it is asked."""
    said = json.loads(answer("hello")) | {"model": named}
    engine.completion = (200, json.dumps(said).encode())
    result = probe(run_module, engine)
    assert result.get("dream_error", {}).get("code", "") == code


@pytest.mark.parametrize(
    ("kind", "code"), [("text/html; charset=utf-8", ""), ("text/plain", "CHAT_PAGE_MISSING")]
)
def test_the_chat_page_is_asked_for_as_a_browser_does(
    run_module: Run, engine: Any, kind: str, code: str
) -> None:
    engine.page = kind
    result = probe(run_module, engine, page=True)
    assert result.get("dream_error", {}).get("code", "") == code


def test_the_key_comes_from_the_file(run_module: Run, engine: Any, tmp_path: Any) -> None:
    path = tmp_path / ".env"
    path.write_text("ENGINE_API_KEY=k1\n")
    result = probe(run_module, engine, key_file=str(path))
    assert result["answer_characters"] == 5
    assert engine.seen[-1]["Authorization"] == "Bearer k1"
