"""The model that recognizes speech: joined from two packages, and never half."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dream_runner import paths

PROGRAM = paths.content() / "roles" / "services" / "files" / "speech_model.py"


@pytest.fixture
def speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with two small packages in place of the published ones."""
    found = importlib.util.spec_from_file_location("speech_model", PROGRAM)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found.loader.exec_module(module)
    for package, files in {
        "first_half": {"model.bin.part1": b"one"},
        "second_half": {"model.bin.part2": b"two", "config.json": b"{}"},
    }.items():
        data = tmp_path / "packages" / package / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        for name, content in files.items():
            (data / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    halves = [("first_half", "model.bin.part1"), ("second_half", "model.bin.part2")]
    monkeypatch.setattr(
        module,
        "FILES",
        {
            "config.json": ([("second_half", "config.json")], digest(b"{}")),
            "model.bin": (halves, digest(b"onetwo")),
        },
    )
    return module


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_halves_become_one_file(speech: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "data" / "base"
    speech.write(target)
    assert sorted(os.listdir(target)) == ["config.json", "model.bin"]
    assert (target / "model.bin").read_bytes() == b"onetwo"
    before = (target / "model.bin").stat()
    speech.write(target)
    assert (target / "model.bin").stat() == before, "what is there is not written again"


@pytest.mark.parametrize("left", [b"one", b"onetwX", b""])
def test_what_a_kill_or_a_broken_disk_left_is_written_again(
    speech: ModuleType, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "model.bin").write_bytes(left)
    (tmp_path / "model.bin.part").write_bytes(b"rest of a former process")
    speech.write(tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == b"onetwo"
    assert not (tmp_path / "model.bin.part").exists()


def test_another_file_than_the_published_one_is_not_used(
    speech: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "packages" / "second_half" / "data" / "model.bin.part2").write_bytes(b"TWO")
    with pytest.raises(ValueError, match=r"model\.bin of first_half is not the published file"):
        speech.write(tmp_path / "data")
    assert not (tmp_path / "data" / "model.bin").exists()


def test_a_missing_package_is_named(
    speech: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"config.json": ([("absent_package", "config.json")], digest(b"{}"))}
    monkeypatch.setattr(speech, "FILES", files)
    with pytest.raises(ValueError, match="the package absent_package is missing"):
        speech.write(tmp_path / "data")


def test_a_full_disk_leaves_no_half_of_a_file(
    speech: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(speech.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        speech.write(tmp_path / "data")
    assert os.listdir(tmp_path / "data") == []
