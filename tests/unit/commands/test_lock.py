"""The lock says what a registry or a bundle has, and nothing that nobody looked at."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fixtures.serving import serving
from images import archive
from images.registry import Registry

from dream_runner import catalog
from dream_runner.catalog import image_archives, image_lock
from dream_runner.commands import lock
from dream_runner.module_utils.dream_core.errors import IntegrityError, NetworkError, UsageError

ALL = lock.Asked(all=True)


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
    with serving(Registry(("127.0.0.1", 0), {"a/b": image.layout})) as place:
        yield place


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Use a file of the test as the user's own lock."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "dream-runner" / catalog.LOCK


def only(monkeypatch: pytest.MonkeyPatch, *tags: str) -> None:
    monkeypatch.setattr(catalog, "image_tags", lambda services: list(tags))


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("redis:7", (image_lock.HUB, "library/redis", "7")),
        ("qdrant/qdrant:v1", (image_lock.HUB, "qdrant/qdrant", "v1")),
        ("docker.io/library/redis", (image_lock.HUB, "library/redis", "latest")),
        ("ghcr.io/a/b:1", ("ghcr.io", "a/b", "1")),
        ("localhost:5000/b", ("localhost:5000", "b", "latest")),
        ("a/b:1@sha256:ab", (image_lock.HUB, "a/b", "sha256:ab")),
    ],
)
def test_where_an_image_is(tag: str, expected: tuple[str, str, str]) -> None:
    found = image_lock.place(tag)
    assert (found.host, found.name, found.reference) == expected


def test_only_this_machine_is_asked_without_tls() -> None:
    assert image_lock.place("127.0.0.1:5000/b:1").address.startswith("http://")
    assert image_lock.place("10.0.0.1:5000/b:1").address.startswith("https://")


def test_every_variant_has_its_image_locked() -> None:
    found = catalog.image_tags(catalog.load().services)
    assert {"ghcr.io/ggml-org/llama.cpp:server-b9014", "qdrant/qdrant:v1.16.3"} <= set(found)
    assert "ghcr.io/ggml-org/llama.cpp:server-cuda-b9014" in found


def test_a_registry_is_asked_once_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registry: str, image: archive.Image
) -> None:
    tag = f"{registry}/a/b:1"
    only(monkeypatch, tag)
    output = tmp_path / "lock.json"
    first = lock.run(ALL, output=str(output))
    assert first.changed == (tag,)
    entry = {"digest": image.digest, "kind": "amd64", "platforms": ["linux/amd64"]}
    assert first.images[tag] == entry
    assert catalog.read_lock(output) == dict(first.images)
    before = output.stat()
    again = lock.run(ALL, output=str(output))
    assert again.changed == ()
    assert output.stat().st_mtime_ns == before.st_mtime_ns


def test_what_answered_is_kept_when_one_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch, own_state: Path, registry: str
) -> None:
    only(monkeypatch, f"{registry}/a/b:1", f"{registry}/gone:1", "127.0.0.1:1/x:1")
    with pytest.raises(NetworkError) as caught:
        lock.run(ALL)
    assert caught.value.code == "LOCK_FAILED"
    assert f"{registry}/gone:1: 404" in caught.value.what
    assert "127.0.0.1:1/x:1" in caught.value.what
    assert f"{registry}/a/b:1" not in caught.value.what
    assert "a mirror" in caught.value.hint
    assert list(catalog.read_lock(own_state)) == [f"{registry}/a/b:1"]


def test_a_dead_network_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, own_state: Path
) -> None:
    only(monkeypatch, *(f"127.0.0.1:1/{name}:1" for name in "abcdef"))
    with pytest.raises(NetworkError) as caught:
        lock.run(ALL)
    assert caught.value.what == ("no server can be reached: 127.0.0.1 refused the connection")
    assert not own_state.exists()


def test_one_image_by_its_tag_its_repository_or_its_service(
    monkeypatch: pytest.MonkeyPatch, own_state: Path
) -> None:
    """Only the named images are looked up; pins of the release are not recorded again."""
    asked: list[str] = []

    def ask(tags: Any, pins: Any, seconds: Any = None) -> image_lock.Answers:
        asked.extend(tags)
        shipped = catalog.read_lock(catalog.HERE / catalog.LOCK)
        return image_lock.Answers({tag: shipped[tag] for tag in tags})

    monkeypatch.setattr(image_lock, "ask", ask)
    lock.run(lock.Asked(("n8n", "qdrant/qdrant", "redis:7.4.8-alpine")))
    assert [tag.partition(":")[0] for tag in asked] == ["n8nio/n8n", "qdrant/qdrant", "redis"]
    assert not own_state.exists()
    with pytest.raises(UsageError) as caught:
        lock.run(lock.Asked(("qdrnt",)))
    assert caught.value.code == "UNKNOWN_IMAGE"
    assert "qdrant" in caught.value.hint


def test_without_a_name_the_features_that_are_on_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def ask(tags: Any, pins: Any, seconds: Any = None) -> image_lock.Answers:
        asked.extend(tags)
        return image_lock.Answers()

    monkeypatch.setattr(image_lock, "ask", ask)
    monkeypatch.setenv("DREAM_WORKFLOWS", "no")
    lock.run()
    assert any(tag.startswith("ghcr.io/open-webui/") for tag in asked)
    assert not any(tag.startswith(("n8nio/", "langfuse/")) for tag in asked)


def test_a_mirror_is_asked_and_stays(registry: str, image: archive.Image) -> None:
    pins = {"minio/minio:7": {"digest": "sha256:" + "0" * 64, "from": f"{registry}/a/b"}}
    entry = image_lock.ask(pins, pins).found["minio/minio:7"]
    assert (entry["digest"], entry["from"]) == (image.digest, f"{registry}/a/b")


def test_a_pin_that_its_registry_lost_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, own_state: Path, registry: str, image: archive.Image
) -> None:
    tags = [f"{registry}/a/b:1", f"{registry}/a/b:2"]
    only(monkeypatch, *tags)
    image_lock.record(own_state, {tag: {"digest": image.digest} for tag in tags})
    assert lock.check(ALL).confirmed == tuple(tags)
    assert lock.checked_as_text(lock.check(ALL)) == "Registries confirmed 2 pinned images."
    lost = "sha256:" + "0" * 64
    image_lock.record(own_state, {tags[1]: {"digest": lost}})
    before = own_state.read_bytes()
    with pytest.raises(IntegrityError) as caught:
        lock.check(ALL)
    assert (caught.value.code, caught.value.exit_code) == ("PIN_GONE", 7)
    assert f"{tags[1]} ({lost})" in caught.value.what
    assert caught.value.hint.endswith(f"dream-runner lock {tags[1]}")
    assert own_state.read_bytes() == before


def test_a_check_that_gets_no_answer_says_nothing_of_the_pins(
    monkeypatch: pytest.MonkeyPatch, own_state: Path
) -> None:
    only(monkeypatch, "127.0.0.1:1/x:1")
    image_lock.record(own_state, {"127.0.0.1:1/x:1": {"digest": "sha256:" + "0" * 64}})
    with pytest.raises(NetworkError) as caught:
        lock.check(ALL)
    assert caught.value.code == "LOCK_FAILED"


def test_registries_get_no_more_time_than_all_of_them_may_take() -> None:
    """A registry that accepts the connection and never answers does not delay a plan."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tags = [f"127.0.0.1:{silent.getsockname()[1]}/x:{number}" for number in range(20)]
        began = time.monotonic()
        answers = image_lock.ask(tags, seconds=0.5)
        assert time.monotonic() - began < 2
        assert set(answers.failed) == set(tags)
        assert answers.is_network_dead
        for thread in threading.enumerate():
            if thread.name.startswith("registry"):
                thread.join(5)


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
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as place:
        tag = f"{place}/a/b:1"
        entry = image_lock.ask([tag]).found[tag]
    assert entry == {
        "digest": "sha256:" + hashlib.sha256(Hub.index).hexdigest(),
        "kind": "index",
        "platforms": ["linux/amd64", "linux/arm64"],
    }


def test_a_bundle_is_known_by_its_ids(tmp_path: Path, image: archive.Image) -> None:
    folder = tmp_path / "bundle" / "images"
    folder.mkdir(parents=True)
    (folder / "redis.tar").write_bytes(image.tar.read_bytes())
    found = image_archives.of_bundle(
        tmp_path / "bundle", catalog.image_tags(catalog.load().services)
    )
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
        image_archives.of_bundle(tmp_path, ["redis:7"])
    assert caught.value.code == "BUNDLE_IMAGES"


def test_a_lock_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"schema": "other", "images": {"a": {}}}')
    with pytest.raises(UsageError) as caught:
        catalog.read_lock(path)
    assert caught.value.code == "LOCK_INVALID"


@pytest.mark.parametrize(
    ("manifest", "platforms", "kind"),
    [
        ({"manifests": []}, ["linux/amd64", "linux/arm64"], "index"),
        ({"config": {}}, ["linux/arm64"], "arm64"),
        ({"config": {}}, ["linux/riscv64"], "unknown"),
        ({"config": {}}, [], "unknown"),
    ],
)
def test_every_kind_that_is_recorded_can_be_read_again(
    own_state: Path, manifest: Any, platforms: list[str], kind: str
) -> None:
    found = image_lock.kind_of(manifest, platforms)
    assert found == kind
    image_lock.record(own_state, {"x:1": {"digest": "sha256:" + "0" * 64, "kind": found}})
    assert catalog.read_lock(own_state)["x:1"]["kind"] == kind
