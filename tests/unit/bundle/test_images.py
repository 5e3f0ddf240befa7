"""Images in a bundle: by digest from a registry, once, and found again by the lock of a target."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.serving import serving
from images.registry import Registry

from dream_runner import catalog
from dream_runner.bundle import create, images
from dream_runner.catalog.image_archives import of_bundle
from dream_runner.module_utils.dream_core.containers import engine_images
from dream_runner.module_utils.dream_core.errors import DiskError, IntegrityError, NetworkError

needs_skopeo = pytest.mark.skipif(not shutil.which("skopeo"), reason="no skopeo")
TAG = "example/web:1.0"
LIMIT = 1 << 30


def blob(layout: Path, content: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    media = f"application/vnd.oci.image.{kind}"
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout of one image with one file in it."""
    root = tmp_path / "layout"
    (root / "blobs" / "sha256").mkdir(parents=True)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("hello"), io.BytesIO())
    layer = blob(root, stream.getvalue(), "layer.v1.tar")
    config = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(root, json.dumps(config).encode(), "config.v1+json"),
        "layers": [layer],
    }
    top = blob(root, json.dumps(manifest).encode(), "manifest.v1+json")
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return root


@pytest.fixture
def locked(layout: Path) -> Iterator[dict[str, dict[str, str]]]:
    """The lock of that image, in a registry that serves it."""
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    with serving(Registry(("127.0.0.1", 0), {"web": layout})) as place:
        yield {TAG: {"digest": digest, "from": f"{place}/web"}}


@needs_skopeo
def test_an_image_is_copied_once_and_the_targets_lock_finds_it(
    tmp_path: Path, locked: dict[str, dict[str, str]]
) -> None:
    target = tmp_path / "b" / "images"
    target.mkdir(parents=True)
    said: list[str] = []
    (target / "example_web_1.0.part").write_bytes(b"of a run that was killed")
    (target / "example_web_1.0.work").mkdir()
    images.fetch(target, locked, "amd64", LIMIT, said.append)
    path = target / "example_web_1.0.tar"
    assert [item.name for item in target.iterdir()] == [path.name]
    found = of_bundle(target.parent, [TAG])
    assert found[TAG]["archive"] == f"images/{path.name}"
    assert found[TAG]["platforms"] == ["linux/amd64"]
    with tarfile.open(path) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        assert index["manifests"][0]["digest"] == locked[TAG]["digest"]
        assert "oci-layout" in tar.getnames()
        # Every blob is what its name says, the manifest's own among them.
        blobs = [name for name in tar.getnames() if name.startswith("blobs/sha256/")]
        assert len(blobs) == 3
        for name in blobs:
            content = tar.extractfile(name).read()  # type: ignore[union-attr]
            assert hashlib.sha256(content).hexdigest() == name.rsplit("/", 1)[1]
    # Another program reads it as an OCI layout, and finds the image by its digest.
    ask = ["skopeo", "inspect", "--format", "{{.Digest}}", f"oci-archive:{path}"]
    shown = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
    assert shown.strip() == locked[TAG]["digest"]
    assert found[TAG]["manifest"] == locked[TAG]["digest"]
    inode = path.stat().st_ino
    images.fetch(target, locked, "amd64", LIMIT, said.append)
    assert path.stat().st_ino == inode
    assert said == [f"image {TAG}"]


@needs_skopeo
def test_an_image_that_no_stick_could_carry_lies_in_parts(
    tmp_path: Path, locked: dict[str, dict[str, str]]
) -> None:
    target = tmp_path / "b" / "images"
    target.mkdir(parents=True)
    images.fetch(target, locked, "amd64", LIMIT, lambda line: None)
    whole = (target / "example_web_1.0.tar").read_bytes()
    said: list[str] = []
    images.fetch(target, locked, "amd64", 4096, said.append)
    images.fetch(target, locked, "amd64", 4096, said.append)
    names = sorted(path.name for path in target.iterdir())
    assert names == [f"example_web_1.0.tar.{number:03d}" for number in range(len(names))]
    assert len(names) > 1
    assert max(path.stat().st_size for path in target.iterdir()) <= 4096
    assert said == []
    found = of_bundle(target.parent, [TAG])
    assert found[TAG]["archive"] == "images/example_web_1.0.tar"
    (item,) = create.archived_images(target.parent, found)
    assert item["sha256"] == hashlib.sha256(whole).hexdigest()
    # An engine gets it as one stream, and is told of nothing else.
    program = tmp_path / "engine"
    program.write_text(f"#!/bin/sh\necho $@; exec cat > {tmp_path}/loaded\n")
    program.chmod(0o755)
    engine_images.load(str(program), str(target / "example_web_1.0.tar"))
    assert (tmp_path / "loaded").read_bytes() == whole
    program.write_text("#!/bin/sh\necho no space left on device; exit 1\n")
    with pytest.raises(DiskError):
        engine_images.load(str(program), str(target / "example_web_1.0.tar"))


@needs_skopeo
def test_another_image_than_the_pinned_one_never_gets_in(
    tmp_path: Path, layout: Path, locked: dict[str, dict[str, str]]
) -> None:
    manifest = layout / "blobs" / "sha256" / locked[TAG]["digest"].removeprefix("sha256:")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises((IntegrityError, NetworkError)) as caught:
        images.fetch(tmp_path, locked, "amd64", LIMIT, lambda line: None)
    assert caught.value.code == "IMAGE_DIGEST", str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".tar", ".part", ".work")]


@needs_skopeo
def test_a_registry_without_it_is_a_network_error(
    tmp_path: Path, locked: dict[str, dict[str, str]]
) -> None:
    entry = {**locked[TAG], "digest": "sha256:" + "0" * 64}
    with pytest.raises(NetworkError) as caught:
        images.fetch(tmp_path, {TAG: entry}, "amd64", LIMIT, lambda line: None)
    assert (caught.value.exit_code, caught.value.code) == (5, "IMAGE_COPY")


@needs_skopeo
def test_an_image_that_is_known_by_its_digest_is_found_by_it(
    tmp_path: Path, locked: dict[str, dict[str, str]]
) -> None:
    tag = f"example/web@{locked[TAG]['digest']}"
    target = tmp_path / "b" / "images"
    target.mkdir(parents=True)
    images.fetch(target, {tag: locked[TAG]}, "amd64", LIMIT, lambda line: None)
    found = of_bundle(target.parent, [tag])
    assert found[tag]["manifest"] == locked[TAG]["digest"]
    with tarfile.open(next(target.iterdir())) as tar:
        (item,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert item["RepoTags"] == [f"example/web:{locked[TAG]['digest'].replace(':', '-')[:19]}"]


def test_what_cannot_go_in_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    pinned = {"a/b:1": {"digest": "sha256:" + "0" * 64}}
    monkeypatch.setattr(shutil, "which", lambda name: None)
    images.fetch(tmp_path, pinned, "amd64", LIMIT, said.append)
    assert "no skopeo" in said[0]
    assert list(tmp_path.iterdir()) == []


def needed(tiers: tuple[str, ...] = (), features: tuple[str, ...] = (), arch: str = "amd64") -> Any:
    return set(images.needed(catalog.load(), tiers, features, arch))


def test_a_bundle_has_the_images_of_its_tiers_and_features() -> None:
    engine = "ghcr.io/ggml-org/llama.cpp:server-"
    small = needed(("0",), ("workflows",))
    assert {tag for tag in small if "llama.cpp" in tag} == {f"{engine}b9014"}
    assert any(tag.startswith("n8nio/n8n:") for tag in small)
    assert not any("langfuse" in tag or "qdrant" in tag for tag in small)
    amd = needed(("SH_LARGE",))
    assert {f"{engine}vulkan-b9014", f"{engine}rocm-b9014"} <= amd
    assert not any("cuda" in tag for tag in amd)


def test_an_image_without_a_pin_is_left_out_and_named() -> None:
    loaded = catalog.load()
    name = "ghcr.io/ggml-org/llama.cpp:server-b9014"
    pins = {tag: pin for tag, pin in loaded.images["images"].items() if tag != name}
    wanted = create.Wanted("", "full", ("0",), (), ("workflows",), (), "amd64")
    said: list[str] = []
    found = create.pinned_images(replace(loaded, images={"images": pins}), wanted, said.append)
    assert set(found) == needed(("0",), ("workflows",)) - {name}
    assert len(said) == 1
    assert name in said[0]


def test_a_bundle_has_the_models_of_its_features() -> None:
    def ids(*features: str, arch: str = "amd64") -> set[str]:
        return {item["id"] for item in images.helpers(catalog.load(), (), features, arch)}

    assert ids() == {"all-minilm-l6-v2", "faster-whisper-base"}
    assert ids("voice") == {"faster-whisper-base"}
    assert ids("rag", arch="arm64") == {"all-minilm-l6-v2"}
    assert ids("workflows") == set()


def test_a_bundle_of_everything_has_no_image_of_an_earlier_version() -> None:
    everything = needed()
    former = {tag for tag, entry in catalog.load().images["images"].items() if entry.get("former")}
    assert former
    assert not everything & former
    assert any("langfuse" in tag for tag in everything)
    assert not any("text-embeddings" in tag for tag in needed(arch="arm64"))


@pytest.mark.parametrize("name", catalog.load().features["features"])
def test_a_feature_s_needs_go_with_it(name: str) -> None:
    feature = catalog.load().features["features"][name]
    known = {item["id"]: item for item in catalog.load().services["services"]}
    for need in (name, *feature.get("requires", ())):
        for item in catalog.load().features["features"][need]["services"]:
            if "supported" not in known[item["id"]]:
                assert known[item["id"]]["image"] in needed(("0",), (name,))
