"""Pins against a real registry: look up, mirror, check, carry into a bundle, and miss what is gone.

The registry is Debian's docker-registry, and skopeo fills it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import IN_CI
from fixtures.serving import serving
from images import archive, docker_registry

from dream_runner import catalog
from dream_runner.bundle import images as bundle_images
from dream_runner.catalog import image_archives
from dream_runner.commands import lock
from dream_runner.module_utils.dream_core.errors import IntegrityError, NetworkError

pytestmark = pytest.mark.skipif(
    not IN_CI and not shutil.which("skopeo"), reason="apt-get install skopeo"
)

QDRANT, REDIS = "qdrant/qdrant:v1.16.3", "redis:7.4.8-alpine"


def image(folder: Path, content: str, architecture: str = "amd64") -> archive.Image:
    for name in ("root", "image"):
        (folder / name).mkdir(parents=True)
    (folder / "root" / "file").write_text(content)
    archive.write(folder / "image", folder / "root", "x:1", architecture, {"Cmd": ["/file"]})
    return archive.Image(folder / "image")


@pytest.fixture(scope="module", autouse=True)
def _fetched() -> None:
    """Fetch the registry's program before a test changes HOME, where it is kept."""
    docker_registry.program()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry.serving(tmp_path / "registry") as place:
        yield place


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def own_lock(home: Path) -> Path:
    return home / "state" / "dream-runner" / catalog.LOCK


def mirrored(home: Path, registry: str, **digests: str) -> None:
    """Write the user's own lock: the repository of a tag is a mirror in the registry."""
    entries = {
        tag: {"digest": digest, "from": f"{registry}/{name}"}
        for (name, digest), tag in zip(digests.items(), (QDRANT, REDIS), strict=False)
    }
    path = own_lock(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": catalog.LOCK_SCHEMA, "images": entries}))


def entry_of(tag: str) -> Any:
    """Look up one image and record it; return its entry in the lock."""
    return lock.run(lock.Asked((tag,))).images[tag]


OLD = "sha256:" + "0" * 64


def test_a_mirror_is_looked_up_and_checked_until_the_digest_is_deleted(
    home: Path, registry: str, tmp_path: Path
) -> None:
    one, two = (image(tmp_path / name, name) for name in ("one", "two"))
    docker_registry.push(one, f"{registry}/mirror/vectors:v1.16.3")
    docker_registry.push(two, f"{registry}/redis:7.4.8-alpine")
    mirrored(home, registry, **{"mirror/vectors": OLD, "redis": OLD})
    both = lock.Asked((QDRANT, REDIS))
    found = lock.run(both)
    assert found.changed == (QDRANT, REDIS)
    assert found.images[QDRANT] == {
        "digest": one.digest,
        "from": f"{registry}/mirror/vectors",
        "kind": "amd64",
        "platforms": ["linux/amd64"],
    }
    assert lock.run(both).changed == ()
    assert lock.check(both).confirmed == (QDRANT, REDIS)
    docker_registry.skopeo("delete", f"docker://{registry}/mirror/vectors:v1.16.3")
    before = own_lock(home).read_bytes()
    with pytest.raises(IntegrityError) as gone:
        lock.check(both)
    assert (gone.value.code, gone.value.exit_code) == ("PIN_GONE", 7)
    assert f"{QDRANT} ({one.digest})" in gone.value.what
    assert REDIS not in gone.value.what
    assert gone.value.hint.endswith(f"dream-runner lock {QDRANT}")
    with pytest.raises(NetworkError) as failed:
        lock.run(both)
    assert failed.value.code == "LOCK_FAILED"
    assert f"{QDRANT}: 404" in failed.value.what
    assert own_lock(home).read_bytes() == before
    # The remedy: what its maker publishes instead, under the same tag.
    docker_registry.push(two, f"{registry}/mirror/vectors:v1.16.3")
    assert entry_of(QDRANT)["digest"] == two.digest
    assert lock.check(both).confirmed == (QDRANT, REDIS)


def test_an_image_for_several_platforms_is_pinned_by_its_index(
    home: Path, registry: str, tmp_path: Path
) -> None:
    layout = tmp_path / "index"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    manifests = []
    for architecture in ("amd64", "arm64"):
        part = image(tmp_path / architecture, architecture, architecture)
        shutil.copytree(part.layout / "blobs", layout / "blobs", dirs_exist_ok=True)
        (row,) = json.loads((part.layout / "index.json").read_text())["manifests"]
        kept = {key: row[key] for key in ("mediaType", "digest", "size")}
        manifests.append({**kept, "platform": {"os": "linux", "architecture": architecture}})
    media = "application/vnd.oci.image.index.v1+json"
    content = json.dumps({"schemaVersion": 2, "mediaType": media, "manifests": manifests}).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    top = {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    target = f"docker://{registry}/qdrant:v1.16.3"
    exact = ("--quiet", "--all", "--preserve-digests")
    docker_registry.skopeo("copy", *exact, f"oci:{layout}", target)
    mirrored(home, registry, qdrant=OLD)
    entry = entry_of(QDRANT)
    assert (entry["digest"], entry["kind"]) == (f"sha256:{digest}", "index")
    assert entry["platforms"] == ["linux/amd64", "linux/arm64"]
    # A bundle has the image of one platform, and an install offline finds it by the pinned index.
    folder = tmp_path / "bundle" / "images"
    folder.mkdir(parents=True)
    bundle_images.fetch(folder, {QDRANT: entry}, "arm64", 1 << 30, lambda line: None)
    carried = image_archives.of_bundle(folder.parent, [QDRANT])[QDRANT]
    assert carried["platforms"] == ["linux/arm64"]


def test_a_bundle_has_the_pinned_digest_and_never_another(
    home: Path, registry: str, tmp_path: Path
) -> None:
    one, two = (image(tmp_path / name, name) for name in ("one", "two"))
    docker_registry.push(one, f"{registry}/qdrant:v1.16.3")
    mirrored(home, registry, qdrant=OLD)
    entry = entry_of(QDRANT)
    folder = tmp_path / "bundle" / "images"
    folder.mkdir(parents=True)
    # The tag moves on; what was pinned is still copied by its digest.
    docker_registry.push(two, f"{registry}/qdrant:v1.16.3")
    bundle_images.fetch(folder, {QDRANT: entry}, "amd64", 1 << 30, lambda line: None)
    (path,) = folder.iterdir()
    with tarfile.open(path) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == one.digest
    carried = lock.run(bundle=str(folder.parent), output=str(tmp_path / "lock.json"))
    assert carried.images[QDRANT]["manifest"] == one.digest
    path.unlink()
    gone = f"docker://{registry}/qdrant@{one.digest}"
    docker_registry.skopeo("delete", gone)
    with pytest.raises(NetworkError) as caught:
        bundle_images.fetch(folder, {QDRANT: entry}, "amd64", 1 << 30, lambda line: None)
    assert caught.value.code == "IMAGE_COPY"
    assert list(folder.iterdir()) == []


class Tokens(BaseHTTPRequestHandler):
    """Gives every anonymous client a token, as the registries of the world do."""

    def do_GET(self) -> None:
        body = json.dumps({"token": "of-the-tests"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Write no log."""


def test_a_registry_that_wants_a_token_gets_one(home: Path, tmp_path: Path) -> None:
    one = image(tmp_path / "one", "one")
    folder = tmp_path / "registry"
    with docker_registry.serving(folder) as place:
        docker_registry.push(one, f"{place}/qdrant:v1.16.3")
    realm = serving(ThreadingHTTPServer(("127.0.0.1", 0), Tokens))
    with realm as tokens, docker_registry.serving(folder, f"http://{tokens}/token") as place:
        mirrored(home, place, qdrant=OLD)
        assert entry_of(QDRANT)["digest"] == one.digest
