"""The lock says what a registry or a bundle has, and nothing that nobody looked at."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from images import archive
from images.registry import Registry

from dream_runner import catalog
from dream_runner.commands import lock
from dream_runner.module_utils.dream_core.errors import NetworkError, UsageError


@pytest.fixture
def image(tmp_path: Path) -> archive.Image:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("content")
    made = tmp_path / "image"
    made.mkdir()
    archive.write(made, root, "redis:7.4.8-alpine", "amd64", {"Cmd": ["/file"]})
    return archive.Image(made)


@pytest.fixture
def registry(image: archive.Image) -> Iterator[str]:
    server = Registry(("127.0.0.1", 0), {"a/b": image.layout})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def only(monkeypatch: pytest.MonkeyPatch, *tags: str) -> None:
    monkeypatch.setattr(lock, "tags", lambda services: list(tags))


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("redis:7", (lock._HUB, "library/redis", "7")),
        ("qdrant/qdrant:v1", (lock._HUB, "qdrant/qdrant", "v1")),
        ("docker.io/library/redis", (lock._HUB, "library/redis", "latest")),
        ("ghcr.io/a/b:1", ("ghcr.io", "a/b", "1")),
        ("localhost:5000/b", ("localhost:5000", "b", "latest")),
        ("a/b:1@sha256:ab", (lock._HUB, "a/b", "sha256:ab")),
    ],
)
def test_where_an_image_is(tag: str, expected: tuple[str, str, str]) -> None:
    found = lock.place(tag)
    assert (found.host, found.name, found.reference) == expected


def test_only_this_machine_is_asked_without_tls() -> None:
    assert lock.place("127.0.0.1:5000/b:1").address.startswith("http://")
    assert lock.place("10.0.0.1:5000/b:1").address.startswith("https://")


def test_every_variant_has_its_image_locked() -> None:
    found = lock.tags(catalog.load().services)
    assert {"ghcr.io/ggml-org/llama.cpp:server-b9014", "qdrant/qdrant:v1.16.3"} <= set(found)
    assert "ghcr.io/ggml-org/llama.cpp:server-cuda-b9014" in found


def test_a_registry_is_asked_once_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registry: str, image: archive.Image
) -> None:
    tag = f"{registry}/a/b:1"
    only(monkeypatch, tag)
    output = tmp_path / "lock.json"
    first = lock.run(output=str(output))
    assert first.changed == (tag,)
    assert first.images[tag] == {"digest": image.digest, "platforms": ["linux/amd64"]}
    assert catalog.read_lock(output) == dict(first.images)
    before = output.stat()
    again = lock.run(output=str(output))
    assert again.changed == ()
    assert output.stat().st_mtime_ns == before.st_mtime_ns


def test_nothing_is_written_when_one_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registry: str
) -> None:
    only(monkeypatch, f"{registry}/a/b:1", f"{registry}/gone:1", "127.0.0.1:1/x:1")
    output = tmp_path / "lock.json"
    with pytest.raises(NetworkError) as caught:
        lock.run(output=str(output))
    assert caught.value.code == "LOCK_FAILED"
    assert f"{registry}/gone:1: 404" in caught.value.what
    assert "127.0.0.1:1/x:1" in caught.value.what
    assert f"{registry}/a/b:1" not in caught.value.what
    assert not output.exists()


class Hub(BaseHTTPRequestHandler):
    """A registry that wants everybody's pass first, and has an index of platforms."""

    index = json.dumps(
        {
            "manifests": [
                {"digest": "sha256:1", "platform": {"os": "linux", "architecture": "amd64"}},
                {"digest": "sha256:2", "platform": {"os": "linux", "architecture": "arm64"}},
                {"digest": "sha256:3", "platform": {"os": "unknown", "architecture": "unknown"}},
            ]
        }
    ).encode()

    def do_GET(self) -> None:
        host = self.headers["Host"]
        if self.path.startswith("/token"):
            assert "scope=repository%3Aa%2Fb%3Apull" in self.path
            self.reply(200, b'{"token": "pass"}')
        elif self.headers.get("Authorization") == "Bearer pass":
            assert "image.index" in self.headers["Accept"]
            self.reply(200, self.index)
        else:
            scope = f'Bearer realm="http://{host}/token",service="x",scope="repository:a/b:pull"'
            self.reply(401, b"{}", scope)

    def reply(self, status: int, content: bytes, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def test_a_pass_is_fetched_and_the_platforms_are_read() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        tag = f"127.0.0.1:{server.server_port}/a/b:1"
        entry = lock.of_registries([tag])[tag]
    finally:
        server.shutdown()
        server.server_close()
    assert entry == {
        "digest": "sha256:" + hashlib.sha256(Hub.index).hexdigest(),
        "platforms": ["linux/amd64", "linux/arm64"],
    }


def test_a_bundle_is_known_by_its_ids(tmp_path: Path, image: archive.Image) -> None:
    folder = tmp_path / "bundle" / "images"
    folder.mkdir(parents=True)
    (folder / "redis.tar").write_bytes(image.tar.read_bytes())
    found = lock.of_bundle(tmp_path / "bundle", lock.tags(catalog.load().services))
    assert found == {
        "redis:7.4.8-alpine": {
            "id": image.id,
            "manifest": image.digest,
            "archive": "images/redis.tar",
            "platforms": ["linux/amd64"],
        }
    }
    document = {"schema": catalog.LOCK_SCHEMA, "images": found}
    assert catalog.schema_errors(document, "images.lock") == []


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_bundle_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    if content:
        (folder / "x.tar").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        lock.of_bundle(tmp_path, ["redis:7"])
    assert caught.value.code == "BUNDLE_IMAGES"


def test_a_lock_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"schema": "other", "images": {"a": {}}}')
    with pytest.raises(UsageError) as caught:
        catalog.read_lock(path)
    assert caught.value.code == "LOCK_INVALID"
