"""Writes past the page cache: which bytes go where, and what happens when they cannot."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import SIZE, Thing, fill, make_thing, plant

from dream_runner.module_utils.dream_core.errors import DiskError
from dream_runner.module_utils.dream_core.fetch.disk import direct_io
from dream_runner.module_utils.dream_core.fetch.disk.direct_io import (
    PAGE,
    DirectWriter,
    aligned_buffer,
)
from dream_runner.module_utils.dream_core.fetch.disk.partial import partial_progress
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch

MIB = 1024 * 1024


def open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def needs_direct(path: Path) -> None:
    handle = open_file(path / "probe")
    writer = DirectWriter(handle)
    writer.close()
    os.close(handle)
    (path / "probe").unlink()
    if not writer.usable:
        pytest.skip("this filesystem is written through the page cache")


@pytest.mark.parametrize("length", [1, PAGE - 1, PAGE, PAGE + 1, MIB - 1, MIB])
def test_every_byte_is_written(length: int, tmp_path: Path) -> None:
    """Whole pages past the cache and the rest through it, one file in the end."""
    needs_direct(tmp_path)
    content = random.Random(length).randbytes(length)
    handle = open_file(tmp_path / "m")
    writer = DirectWriter(handle)
    buffer = aligned_buffer(MIB)
    buffer[:length] = content
    writes = [writer.submit(buffer[:length], at * MIB) for at in range(4)]
    for write in writes:
        write.wait()
    writer.close()
    os.close(handle)
    whole = (tmp_path / "m").read_bytes()
    assert all(whole[at * MIB : at * MIB + length] == content for at in range(4))
    assert len(whole) == 3 * MIB + length


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSPC, errno.EIO])
def test_a_refused_write(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the device cannot do goes through the cache; any other failure is told."""
    needs_direct(tmp_path)
    handle = open_file(tmp_path / "m")
    writer = DirectWriter(handle)
    real = os.pwrite

    def refuse(where: int, *rest: Any) -> int:
        if fcntl.fcntl(where, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(code, os.strerror(code))
        return real(where, *rest)

    monkeypatch.setattr(os, "pwrite", refuse)
    write = writer.submit(aligned_buffer(MIB), 0)
    if code == errno.EINVAL:
        write.wait()
        assert os.fstat(handle).st_size == MIB
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            write.wait()
    writer.close()
    os.close(handle)


def test_an_unknown_filesystem_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: Thing
) -> None:
    monkeypatch.setattr(direct_io, "filesystem", lambda _: 0x6969)
    with thing.villain() as server:
        fetch(thing.request(tmp_path / "m", server.url("honest")))
    assert (tmp_path / "m").read_bytes() == thing.content


def test_a_fetch_goes_past_the_cache_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a crooked offset, too: what is here already ends within a page."""
    needs_direct(tmp_path)
    thing = make_thing(SIZE, seed=30)
    submitted: list[int] = []
    real = DirectWriter.submit

    def submit(self: DirectWriter, view: memoryview, position: int, *more: Any) -> direct_io.Write:
        assert position % PAGE == 0
        submitted.append(len(view))
        return real(self, view, position, *more)

    monkeypatch.setattr(DirectWriter, "submit", submit)
    (tmp_path / "origin").write_bytes(thing.content)
    (tmp_path / "m.part").write_bytes(thing.content[:12_345])
    handles, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    fetch(thing.request(tmp_path / "m", str(tmp_path / "origin")))
    assert sum(submitted) >= SIZE - 2 * MIB
    assert (tmp_path / "m").read_bytes() == thing.content
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (handles, threads)


def test_a_disk_that_fills_up(thing: Thing, ext4_disk: Path) -> None:
    """ENOSPC of a direct write: named, what was written is kept, and the rest comes later."""
    needs_direct(ext4_disk)
    ballast: list[Path] = []
    at = {"at_bytes": SIZE // 2, "at_call": lambda: ballast.append(fill(ext4_disk))}
    with thing.villain(rate=8_000_000, **at) as server:
        request = thing.request(ext4_disk / "m", server.url("paced"), connections=1)
        with pytest.raises(DiskError) as caught:
            fetch(request)
        assert caught.value.code == "DISK_FULL"
        known = partial_progress(request.path)
        assert known
        assert known[0] > SIZE // 4
        ballast[0].unlink()
        assert fetch(request).bytes_reused == known[0]
    assert (ext4_disk / "m").read_bytes() == thing.content


def test_resumed_where_nothing_goes_past_the_cache(
    thing: Thing, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partial written one way is finished the other."""
    monkeypatch.setattr(direct_io, "filesystem", lambda _: 0)
    with thing.villain() as server:
        plant(killed, tmp_path / "m", server.url("honest"))
        known = partial_progress(str(tmp_path / "m"))
        assert known
        result = fetch(thing.request(tmp_path / "m", server.url("honest")))
    assert result.bytes_reused == known[0]
    assert (tmp_path / "m").read_bytes() == thing.content
