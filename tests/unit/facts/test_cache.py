"""The saved facts are used while they are surely true, and are never an authority."""

from __future__ import annotations

import json
import os
import time

import pytest

from dream_runner.module_utils.dream_core.facts import cache
from dream_runner.module_utils.dream_core.facts.cache import load_or_gather
from dream_runner.module_utils.dream_core.facts.fingerprint import fingerprint
from dream_runner.module_utils.dream_core.facts.machine_reader import Host


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def look(state, **options):
    options.setdefault("version", "1")
    return load_or_gather(str(state), **options)


def change(state, **fields):
    path = state / "facts.json"
    document = json.loads(path.read_text())
    document.update(fields)
    path.write_text(json.dumps(cache.seal(document)))


def stamp(seconds_ago):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


def test_the_second_look_is_the_first_one(state):
    first, origin = look(state)
    assert origin == {"source": "gathered", "why": ""}
    second, origin = look(state)
    assert origin == {"source": "cache", "why": ""}
    assert second == first


def test_the_file_is_private(state):
    look(state)
    assert (state / "facts.json").stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


def test_force_looks_again_and_says_nothing(state):
    look(state)
    assert look(state, force=True)[1] == {"source": "gathered", "why": ""}


def test_without_save_nothing_is_written(state):
    look(state, save=False)
    assert not state.exists()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"gathered_at": stamp(90000)}, "25 hours old"),
        ({"gathered_at": stamp(-7200)}, "not plausible"),
        ({"gathered_at": "yesterday"}, "not plausible"),
        ({"version": "0"}, "version 0"),
        ({"install_dir": "/elsewhere"}, "another install directory (/elsewhere)"),
        ({"fingerprint": "0" * 64}, "machine has changed"),
        ({"schema": "dream-runner.facts/2"}, "schema is dream-runner.facts/2"),
        ({"schema": 7}, "schema is 7"),
        ({"gpus": None}, "lack gpus"),
        ({"gpus": ["x"]}, "lack gpus"),
        ({"os": [], "memory": "x"}, "lack os, memory"),
    ],
)
def test_a_document_that_may_be_untrue_is_not_used(state, fields, why):
    look(state)
    change(state, **fields)
    document, origin = look(state)
    assert origin["source"] == "gathered"
    assert why in origin["why"]
    assert "\n" not in origin["why"]
    assert look(state)[1]["source"] == "cache"
    assert document["schema"] == "dream-runner.facts/1"


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"schema": "dream-runner.facts/1"', b"\xff\xfe", b"[1]", b"null", b"7"]
)
def test_broken_files_are_a_miss(state, content):
    look(state)
    (state / "facts.json").write_bytes(content)
    assert look(state)[1]["source"] == "gathered"
    assert look(state)[1]["source"] == "cache"


def test_every_truncation_is_a_miss(state):
    look(state)
    whole = (state / "facts.json").read_bytes()
    for length in range(0, len(whole) - 2, 97):
        (state / "facts.json").write_bytes(whole[:length])
        assert look(state, save=False)[1]["source"] == "gathered"


def test_a_flipped_bit_that_leaves_json_is_a_miss(state):
    look(state)
    path = state / "facts.json"
    text = path.read_text()
    path.write_text(text.replace('"usable_mb"', '"usable_mc"'))
    _, origin = look(state)
    assert "digest" in origin["why"]


def test_a_link_is_a_miss_and_is_replaced_not_followed(state, tmp_path):
    look(state)
    other = tmp_path / "other.json"
    (state / "facts.json").rename(other)
    (state / "facts.json").symlink_to(other)
    before = other.read_bytes()
    _, origin = look(state)
    assert "symbolic link" in origin["why"]
    assert other.read_bytes() == before
    assert not (state / "facts.json").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_a_miss(state):
    look(state)
    os.chown(state / "facts.json", 12345, 12345)
    assert "belongs to user 12345" in look(state)[1]["why"]


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    document, origin = look(tmp_path / "file" / "state")
    assert document["backend"]
    assert "could not be saved" in origin["why"]


def test_a_directory_in_the_place_of_the_file_is_a_warning(state):
    (state / "facts.json").mkdir(parents=True)
    document, origin = look(state)
    assert document["backend"]
    assert "could not be saved" in origin["why"]


def test_an_unknown_field_of_a_later_version_is_kept(state):
    look(state)
    change(state, later="x")
    document, origin = look(state)
    assert origin["source"] == "cache"
    assert document["later"] == "x"


def fake(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(str(root))


def test_fingerprint_follows_what_facts_depend_on(tmp_path):
    seen = {fingerprint(Host(str(tmp_path)))}
    device = "sys__bus__pci__devices__0000:01:00.0__"
    for name, text in [
        ("proc__meminfo", "MemTotal: 1000 kB"),
        ("proc__sys__kernel__random__boot_id", "one"),
        ("proc__sys__kernel__random__boot_id", "two"),
        ("etc__os-release", "ID=debian"),
        (device + "class", "0x030000"),
        (device + "device", "0x2684"),
        ("sys__module__nvidia__version", "580.1"),
        ("sys__module__nvidia__version", "590.1"),
        ("dev__kfd", ""),
    ]:
        mark = fingerprint(fake(tmp_path, **{name: text}))
        assert mark not in seen, name
        seen.add(mark)
    assert fingerprint(Host(str(tmp_path))) == mark


def test_fingerprint_starts_no_program(monkeypatch):
    def never(*_):
        raise AssertionError("a program was started")

    fingerprint(Host("/", never))
    assert cache.FILE_NAME == "facts.json"
