"""Fixtures of the fetch tests; the helpers behind them are in fixtures/fetching.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.fetching import SIZE, Thing, kill_at, make_thing
from fixtures.villain import make_certificate


@pytest.fixture(scope="session")
def thing() -> Thing:
    return make_thing(SIZE)


@pytest.fixture(scope="session")
def killed(thing: Thing, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a partial that a kill -9 left at some two thirds."""
    directory = tmp_path_factory.mktemp("killed")
    with thing.villain(rate=8_000_000) as server:
        kill_at(thing.request(directory / "m", server.url("paced")), server, 4_600_000)
    assert sorted(entry.name for entry in directory.iterdir()) == ["m.part", "m.part.json"]
    return directory


@pytest.fixture(scope="session")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs with room for two files; needs root."""
    if os.geteuid():
        pytest.skip("mounting a tmpfs needs root")
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={5 * SIZE // 2}", "fetch-test", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def ext4_disk(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 in a file, on which writes go past the page cache; needs root."""
    if os.geteuid() or not shutil.which("mkfs.ext4"):
        pytest.skip("mounting an ext4 needs root and mkfs.ext4")
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as stream:
        stream.truncate(5 * SIZE // 2)
    for words in (["mkfs.ext4", "-qF", "-m0", image], ["mount", "-o", "loop", image, place]):
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("an ext4 cannot be made and mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("expired"), expired=True)
