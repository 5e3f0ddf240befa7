"""Whose program answers on the engine's port, and whether it is busy with somebody else."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.errors import EngineError
from dream_runner.module_utils.dream_core.health import ask_model, serving

UNIT = {"kind": "unit", "name": "dream-runner-engine.service", "scope": "system"}
PROGRAM = {"kind": "supervisor", "config": "/srv/ai/supervisord.conf", "program": "engine"}
CONTAINER = {"kind": "container", "service": "llama-server"}
LISTENER = {"port": 11434, "address": "127.0.0.1", "uid": os.geteuid(), "pid": 7, "own": False}
LISTENER["name"] = "python3"


def ours(resource: dict[str, Any], **listener: Any) -> bool:
    receipts = {"services": {"resources": [resource], "facts": {"project": "dream"}}}
    return serving.is_ours(receipts, {**LISTENER, **listener})


@pytest.mark.parametrize(
    ("pid", "listener", "is_ours"),
    [
        (7, {}, True),
        (8, {}, False),
        (0, {}, False),
        (8, {"own": True}, True),
        # A unit of the same name is in another user's control group as well.
        (8, {"own": True, "uid": os.geteuid() + 1}, False),
        (0, {"pid": None, "name": None}, False),
    ],
)
@pytest.mark.parametrize("resource", [UNIT, PROGRAM], ids=lambda item: item["kind"])
def test_the_process_is_the_one_that_is_kept_up(
    monkeypatch: pytest.MonkeyPatch,
    resource: dict[str, Any],
    pid: int,
    listener: dict[str, Any],
    is_ours: bool,
) -> None:
    monkeypatch.setattr(serving.systemd, "show", lambda *_: {"MainPID": str(pid)})
    monkeypatch.setattr(serving, "program_info", lambda *_: {"pid": pid} if pid else None)
    assert ours(resource, **listener) is is_ours


@pytest.mark.parametrize(
    ("listener", "container", "is_ours"),
    [
        ({"name": "docker-proxy"}, {}, True),
        ({"name": None, "pid": None}, {}, True),
        ({"name": "ollama"}, {}, False),
        ({"name": "docker-proxy"}, {"ports": ["127.0.0.1:8080:8080"]}, False),
        ({"name": "docker-proxy"}, {"state": "exited"}, False),
    ],
)
def test_the_container_is_ours_and_publishes_the_port(
    monkeypatch: pytest.MonkeyPatch,
    listener: dict[str, Any],
    container: dict[str, Any],
    is_ours: bool,
) -> None:
    seen = {"state": "running", "ports": ["127.0.0.1:11434:8080"], **container}
    monkeypatch.setattr(serving.project_containers, "look", lambda command, project: [seen])
    assert ours(CONTAINER, **listener) is is_ours


def test_the_closest_address_gets_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may sit on 127.0.0.1 where the engine listens everywhere."""
    found = [{**LISTENER, "address": "0.0.0.0", "pid": 7}, {**LISTENER, "pid": 8}]
    monkeypatch.setattr(serving.listeners, "listeners", lambda ports, own_units=(): found)
    assert serving.listener_at("127.0.0.1", 11434, [])["pid"] == 8  # type: ignore[index]
    assert serving.listener_at("10.0.0.1", 11434, [])["pid"] == 7  # type: ignore[index]


# --- busy ---------------------------------------------------------------------------


class Engine(BaseHTTPRequestHandler):
    """llama.cpp's server in small: one slot, one question after the other."""

    def do_GET(self) -> None:
        replies = {"/health": {}, "/v1/models": {"data": [{"id": "big"}]}}
        if self.path == "/slots":
            time.sleep(self.server.silence)  # type: ignore[attr-defined]
            self.server.steps += self.server.pace  # type: ignore[attr-defined]
            working = self.server.lock.locked()  # type: ignore[attr-defined]
            slot = {"is_processing": working, "n": int(self.server.steps)}  # type: ignore[attr-defined]
            slot["params"] = {"max_tokens": self.server.asked}  # type: ignore[attr-defined]
            return self._send([slot])
        return self._send(replies.get(self.path, {}))

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.server.key  # type: ignore[attr-defined]
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            return self._send({"error": "no key"}, 401)
        with self.server.lock:  # type: ignore[attr-defined]
            self.server.asked = question["max_tokens"]  # type: ignore[attr-defined]
            time.sleep(self.server.thinks)  # type: ignore[attr-defined]
            message = {"content": "hello"}
            return self._send({"model": "big", "choices": [{"message": message}]})

    def _send(self, document: Any, status: int = 200) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def engine() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.lock, server.steps, server.pace, server.asked = threading.Lock(), 0, 1, 900
    server.silence, server.thinks, server.key = 0.0, 0.0, ""
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(engine: Any, seconds: float = 5, **more: Any) -> dict[str, Any]:
    return ask_model.complete(engine.url, "big", seconds, exact=True, **more)


def test_an_engine_that_answers_somebody_else_is_busy_within_two_seconds(engine: Any) -> None:
    began = time.monotonic()
    with engine.lock:
        found = ask(engine, 60)
    assert (found["busy"], found["text"]) == (True, "")
    assert time.monotonic() - began < 2


def test_one_that_is_busy_for_a_moment_answers(engine: Any) -> None:
    engine.lock.acquire()
    threading.Timer(0.5, engine.lock.release).start()
    assert ask(engine)["text"] == "hello"


def test_our_own_question_makes_nobody_busy(engine: Any) -> None:
    """A large model takes longer for the first answer than the patience with others."""
    engine.thinks = 2.0
    assert ask(engine) == {"text": "hello", "seconds": pytest.approx(2.1, abs=1), "busy": False}


def test_work_that_does_not_get_on_is_no_answer(engine: Any) -> None:
    engine.pace = 0
    with engine.lock, pytest.raises(EngineError, match="no answer in 2 s"):
        ask(engine, 2)


@pytest.mark.parametrize("trusting", [True, False])
def test_an_engine_that_reads_a_long_question_says_nothing(engine: Any, trusting: bool) -> None:
    engine.silence = 3.0
    began = time.monotonic()
    with engine.lock:
        if trusting:
            assert ask(engine, trusting=True)["busy"]
            assert time.monotonic() - began < 3
        else:
            with pytest.raises(EngineError):
                ask(engine, 1)


def test_a_busy_engine_of_another_model_is_found_out(engine: Any) -> None:
    with engine.lock, pytest.raises(EngineError) as caught:
        ask_model.complete(engine.url, "small", 5, exact=True)
    assert caught.value.code == "ENGINE_OTHER_MODEL"


def test_the_key_opens_it(engine: Any) -> None:
    engine.key = "k1"
    assert ask(engine, key="k1")["text"] == "hello"
    with pytest.raises(EngineError, match="401"):
        ask(engine)


def test_a_later_run_asks_what_health_asked() -> None:
    """AMD's server has a path before /v1 and names of its own for models."""
    proof = {"url": "http://127.0.0.1:8080", "api_path": "/api", "health_path": "/api/v1/health"}
    proof["model"] = "extra.big"
    receipts = {"health": {"facts": {"url": proof["url"], "model": "big", "proof": proof}}}
    place = serving.endpoint(receipts)
    assert {place[key] for key in ("url", "path", "health", "model")} == set(proof.values())
