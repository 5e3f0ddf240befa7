"""Other programs that write to the partial, or take its name: what was hashed is put in place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.fetching import SIZE, Thing, make_thing
from fixtures.rawserver import RawServer, answer

from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch.disk import stamp
from dream_runner.module_utils.dream_core.fetch.disk.stamp import is_present
from dream_runner.module_utils.dream_core.fetch.disk.watch import Watch
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import Progress


def scribble(path: Path, at: int = 5, text: bytes = b"not ours") -> None:
    handle = os.open(path, os.O_WRONLY)
    os.pwrite(handle, text, at)
    os.close(handle)


def scribble_and_set_back(path: Path) -> None:
    before = path.stat()
    scribble(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"not ours")


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def before_the_name(
    monkeypatch: pytest.MonkeyPatch, path: Path, act: Callable[[Path], None], times: int = 1
) -> None:
    """Do ``act`` when the partial was hashed and is about to get its name."""
    sync, left = os.fsync, [times]

    def act_and_sync(handle: int) -> None:
        if left[0] and os.readlink(f"/proc/self/fd/{handle}").split(" ")[0] == str(path):
            left[0] -= 1
            act(path)
        sync(handle)

    monkeypatch.setattr(os, "fsync", act_and_sync)


@pytest.mark.parametrize("act", [scribble, scribble_and_set_back, append, cut])
def test_a_write_after_the_hash_is_seen(
    act: Callable[[Path], None], thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    with thing.villain() as server:
        before_the_name(monkeypatch, tmp_path / "m.part", act)
        result = fetch(thing.request(path, server.url("honest")))
        assert path.read_bytes() == thing.content
        assert any("another program wrote" in note for note in result.notes)
        # Only what was wrong is fetched again, not what follows it.
        assert act is cut or server.sent() < SIZE + 3 * 1024 * 1024


def test_a_writer_that_does_not_stop_is_named(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with thing.villain() as server:
        before_the_name(monkeypatch, tmp_path / "m.part", scribble, times=99)
        with pytest.raises(DreamError) as caught:
            fetch(thing.request(tmp_path / "m", server.url("honest")))
        assert (caught.value.code, caught.value.exit_code) == ("PARTIAL_CHANGED", 6)
        assert not (tmp_path / "m").exists()
        monkeypatch.undo()
        fetch(thing.request(tmp_path / "m", server.url("honest")))
        assert (tmp_path / "m").read_bytes() == thing.content


def test_a_write_while_bytes_come_is_seen(thing: Thing, tmp_path: Path) -> None:
    """Into what was hashed already: the hash is of what arrived, not of what is there."""
    path = tmp_path / "m"
    done: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.done > SIZE // 3 and not done:
            done.append(progress.done)
            scribble(tmp_path / "m.part")

    with thing.villain(rate=3_000_000) as server:
        request = thing.request(path, server.url("paced"), connections=1)
        result = fetch(request, on_progress)
        assert done
        assert path.read_bytes() == thing.content
        assert any("another program wrote" in note for note in result.notes)


def swap(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.write_bytes(b"not what was hashed")


@pytest.mark.parametrize("act", [swap, Path.unlink])
def test_the_name_is_given_to_what_was_hashed(
    act: Callable[[Path], None], thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    path.write_text("old")
    with thing.villain() as server:
        before_the_name(monkeypatch, tmp_path / "m.part", act)
        with pytest.raises(DreamError) as caught:
            fetch(thing.request(path, server.url("honest")))
        assert caught.value.code == "PARTIAL_CHANGED"
        assert path.read_text() == "old"
        monkeypatch.undo()
        fetch(thing.request(path, server.url("honest")))
        assert path.read_bytes() == thing.content


def test_a_swap_at_the_very_moment_is_undone(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def swap_and_replace(old: str, new: str) -> None:
        if old.endswith("m.part") and new.endswith("/m"):
            monkeypatch.undo()
            swap(Path(old))
        replace(old, new)

    with thing.villain() as server:
        monkeypatch.setattr(os, "replace", swap_and_replace)
        with pytest.raises(DreamError) as caught:
            fetch(thing.request(tmp_path / "m", server.url("honest")))
        assert caught.value.code == "PARTIAL_CHANGED"
        assert not (tmp_path / "m").exists()
        assert not (tmp_path / ".m.stamp").exists()


def test_the_stamp_is_that_of_the_file_that_was_hashed(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file under the name, after the hash and before the stamp, is no verified one."""
    path = tmp_path / "m"
    read = stamp.hash_file

    def read_and_swap(handle: int, *more: object) -> str:
        found = read(handle)
        path.rename(tmp_path / "old")
        path.write_bytes(thing.other)
        return found

    path.write_bytes(thing.content)
    with monkeypatch.context() as patch:
        patch.setattr(stamp, "hash_file", read_and_swap)
        is_present(str(path), thing.sha256)
    assert not is_present(str(path), thing.sha256).present
    known = (
        json.loads((tmp_path / ".m.stamp").read_text()) if (tmp_path / ".m.stamp").exists() else {}
    )
    assert known.get("inode") != path.stat().st_ino


def test_a_file_that_changes_while_it_is_read_is_not_present(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    read = stamp.hash_file

    def read_and_write(handle: int, *more: object) -> str:
        found = read(handle)
        scribble(path)
        return found

    path.write_bytes(thing.content)
    monkeypatch.setattr(stamp, "hash_file", read_and_write)
    found = is_present(str(path), thing.sha256)
    assert (found.present, found.why) == (False, "it cannot be read: it is being written to")
    assert not (tmp_path / ".m.stamp").exists()


def test_own_writes_are_not_foreign(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"0" * 100)
    handle = os.open(path, os.O_RDWR)
    try:
        watch = Watch(handle)
        with watch.writing(), watch.writing():
            os.pwrite(handle, b"1", 0)
        assert not watch.is_foreign()
        append(path)
        with watch.writing():
            os.pwrite(handle, b"2", 0)
        assert watch.is_foreign()
        watch.forget()
        assert not watch.is_foreign()
    finally:
        os.close(handle)


# --- a size that is not known


def test_the_reserve_is_kept_while_bytes_of_an_unknown_size_come(small_disk: Path) -> None:
    """An endless answer stops at the reserve, and gives the space back."""
    directory = small_disk / "endless"
    directory.mkdir()
    try:
        status = os.statvfs(directory)
        free = status.f_bavail * status.f_frsize
        thing = make_thing(1_000_000, seed=8)
        chunk = b"%x\r\n" % len(thing.content) + thing.content + b"\r\n"
        endless = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *([chunk] * 60)]
        with RawServer(thing.content, {"/endless": endless}) as server:
            request = thing.request(
                directory / "m", server.url("/endless"), size_bytes=0, reserve_bytes=free // 2
            )
            with pytest.raises(DreamError) as caught:
                fetch(request)
        assert caught.value.code == "DISK_FULL"
        assert list(directory.iterdir()) == []
    finally:
        for entry in directory.iterdir():
            entry.unlink()
        directory.rmdir()


def test_a_size_that_does_not_fit_is_one_sources_word(tmp_path: Path) -> None:
    thing = make_thing(100_000, seed=8)
    huge = [b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\nxy"]
    with RawServer(thing.content, {"/huge": huge, "/m": answer(thing.content)}) as server:
        request = thing.request(tmp_path / "n", server.url("/huge"), size_bytes=0)
        with pytest.raises(DreamError) as caught:
            fetch(request)
        assert (caught.value.code, caught.value.exit_code) == ("DISK_FULL", 6)
        sources = (server.url("/huge"), server.url("/m"))
        assert fetch(thing.request(tmp_path / "m", *sources, size_bytes=0)).changed
        assert not list(tmp_path.glob("*.part*"))
