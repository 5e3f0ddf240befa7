"""What a GGUF file says of itself, and that no other file is taken for one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths
from dream_runner.catalog import gguf
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.settings import local_model
from dream_runner.settings.table import SETTINGS
from dream_runner.settings.values import Chosen, Settings

SMOKE = paths.catalog() / "smoke.gguf"


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        return text(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
    return text(key) + struct.pack("<II", 4, value)


def file_of(pairs: dict[str, Any], *, count: int | None = None, version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs) if count is None else count)
    return head + b"".join(pair(key, value) for key, value in pairs.items())


LLAMA = {
    "general.architecture": "llama",
    "general.name": "Little",
    "llama.context_length": 4096,
    "llama.block_count": 2,
    "llama.embedding_length": 128,
    "llama.attention.head_count": 4,
}


def read(folder: Path, content: bytes) -> gguf.Header:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return gguf.read(str(path))


def test_the_shipped_model_is_described_as_the_catalogue_does() -> None:
    header = gguf.read(str(SMOKE))
    assert (header.architecture, header.context_tokens) == ("llama", 2048)
    assert header.attention == ({"layers": 2, "kv_heads": 4, "key_dim": 16, "value_dim": 16},)


def test_a_head_is_the_embedding_divided_by_the_heads(tmp_path: Path) -> None:
    header = read(tmp_path, file_of(LLAMA))
    assert header.name == "Little"
    assert header.attention == ({"layers": 2, "kv_heads": 4, "key_dim": 32, "value_dim": 32},)


def test_layers_of_different_shape_are_grouped_and_those_without_cache_left_out(
    tmp_path: Path,
) -> None:
    pairs = {**LLAMA, "llama.block_count": 4, "llama.attention.head_count_kv": [2, 0, 4, 2]}
    header = read(tmp_path, file_of(pairs))
    assert [(group["layers"], group["kv_heads"]) for group in header.attention] == [(2, 2), (1, 4)]


def test_what_the_file_does_not_say_is_unknown(tmp_path: Path) -> None:
    header = read(tmp_path, file_of({"general.architecture": "mamba"}))
    assert (header.context_tokens, header.attention) == (0, ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"<!doctype html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        file_of(LLAMA)[:-3],
        file_of(LLAMA, version=9),
        file_of(LLAMA, count=2**60),
        file_of({}),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62),
        file_of({}, count=1) + text("a") + struct.pack("<IIQ", 9, 4, 2**40),
        file_of({}, count=1) + text("a") + struct.pack("<I", 77),
        file_of({}, count=1) + text("a") + struct.pack("<IQ", 8, 2) + b"\xff\xfe",
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, content)
    assert caught.value.code == "NOT_A_GGUF"
    assert caught.value.exit_code == 2


# --- the file as a setting


def settings_of(model: str, **more: Chosen) -> Settings:
    chosen = {item.name: Chosen(item.default, "default", "default") for item in SETTINGS}
    return Settings({**chosen, "model": Chosen(model, "flag", "--model"), **more})


def test_the_digest_is_computed_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    model = tmp_path / "my model.gguf"
    model.write_bytes(SMOKE.read_bytes())
    state = tmp_path / "state"
    found = local_model.complete(settings_of(model.as_uri()), str(state), save=True)
    assert found["model_size_bytes"] == model.stat().st_size
    assert len(found["model_sha256"]) == 64
    assert found.chosen["model_sha256"].origin == "flag"
    model.chmod(0o000)
    model.chmod(0o644)
    record = (state / local_model.RECORD).read_text()
    again = local_model.complete(settings_of(model.as_uri()), str(state), save=True)
    assert again["model_sha256"] == found["model_sha256"]
    model.write_bytes(SMOKE.read_bytes() + b"x")
    other = local_model.complete(settings_of(model.as_uri()), str(state), save=True)
    assert other["model_sha256"] != found["model_sha256"]
    assert (state / local_model.RECORD).read_text() != record


def test_a_plan_writes_no_record(tmp_path: Path) -> None:
    local_model.complete(settings_of(SMOKE.as_uri()), str(tmp_path / "state"), save=False)
    assert not (tmp_path / "state").exists()


def test_a_digest_that_the_user_gave_is_left_for_the_fetch_to_check(tmp_path: Path) -> None:
    given = Chosen("0" * 64, "flag", "--sha256")
    found = local_model.complete(
        settings_of(SMOKE.as_uri(), model_sha256=given), str(tmp_path), save=True
    )
    assert found["model_sha256"] == "0" * 64


def test_a_file_that_has_gone_leaves_what_was_saved(tmp_path: Path) -> None:
    saved = Chosen("1" * 64, "saved", "saved")
    gone = (tmp_path / "gone.gguf").as_uri()
    found = local_model.complete(settings_of(gone, model_sha256=saved), str(tmp_path), save=True)
    assert found["model_sha256"] == "1" * 64


def test_another_kind_of_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    page = tmp_path / "login.gguf"
    page.write_text("<html>")
    with pytest.raises(UsageError) as caught:
        local_model.complete(settings_of(page.as_uri()), str(tmp_path), save=True)
    assert caught.value.code == "NOT_A_GGUF"


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "broken-disk.gguf"
    model.write_bytes(SMOKE.read_bytes())

    def fail(path: str) -> str:
        raise OSError(5, "Input/output error")

    # No disk of a test machine gives EIO, and root reads every file.
    monkeypatch.setattr(local_model, "hash_file", fail)
    with pytest.raises(UsageError) as caught:
        local_model.complete(settings_of(model.as_uri()), str(tmp_path), save=True)
    assert caught.value.code == "MODEL_FILE_UNREADABLE"
    assert "Input/output error" in caught.value.what
