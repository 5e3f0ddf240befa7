"""kill -9 at any time: what is asked for again is counted at the server."""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures.fetching import Thing, kill_at, make_thing, start_fetch
from fixtures.pythons import oldest

from dream_runner.module_utils.dream_core.fetch.disk.direct_io import PAGE
from dream_runner.module_utils.dream_core.fetch.disk.partial import partial_progress
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.worker import Shared

MIB = 1024 * 1024
SIZE = 32 * MIB
#: What a kill may cost, beside what was still under way in the sockets.
AGAIN = 8 * MIB


@pytest.fixture(scope="module")
def big() -> Thing:
    return make_thing(SIZE)


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_kill_costs_little(share: float, connections: int, big: Thing, tmp_path: Path) -> None:
    with big.villain(rate=20_000_000 // connections) as server:
        request = big.request(tmp_path / "m", server.url("paced"), connections=connections)
        kill_at(request, server, int(SIZE * share))
        time.sleep(0.1)
        first = server.sent()
        known = partial_progress(request.path)
        assert known is not None
        assert known[1] == SIZE
        result = fetch(request)
        again = server.sent() - SIZE
        assert again <= AGAIN, f"{again / MIB:.1f} MiB sent twice after {first / MIB:.1f}"
        assert result.bytes_reused == known[0]
        assert result.bytes_fetched == SIZE - known[0]
    assert hashlib.sha256(Path(request.path).read_bytes()).hexdigest() == big.sha256


@pytest.mark.parametrize(
    ("pace", "wanted", "most"),
    [
        # Before anything is known, and on a fast line, buffers are large: that is what is cheap.
        (math.inf, 1, MIB),
        (1e9, 1, MIB),
        (1e9, 16, 128 * 1024),
        # Of a slow line no more waits than came in 20 ms, in whole pages.
        (17_000_000, 1, 336 * 1024),
        (40_000_000, 4, 196 * 1024),
        (0, 1, 128 * 1024),
    ],
)
def test_a_slow_line_has_little_at_risk(pace: float, wanted: int, most: int) -> None:
    shared = object.__new__(Shared)
    shared.pace, shared.wanted = pace, wanted
    assert 0.97 * most <= shared.portion() <= most
    assert shared.portion() % PAGE == 0


def test_killed_again_and_again(big: Thing, tmp_path: Path) -> None:
    """After random numbers of bytes, until one run gets to the end; each run gets further."""
    chance = random.Random(3)
    with big.villain(rate=15_000_000) as server:
        request = big.request(tmp_path / "m", server.url("paced"), connections=4)
        kills = 0
        while kills < 40:
            child = start_fetch(request)
            until = server.sent() + chance.randrange(SIZE // 4)
            with child:
                # Counted in bytes, because a loaded machine may only have started after a second.
                while child.poll() is None and server.sent() < until:
                    time.sleep(0.005)
                child.send_signal(signal.SIGKILL)
            if child.returncode == 0:
                break
            kills += 1
        assert child.returncode == 0
        assert server.sent() <= SIZE + kills * AGAIN
    assert hashlib.sha256(Path(request.path).read_bytes()).hexdigest() == big.sha256
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".m.stamp", "m"]


def test_a_second_fetch_waits_and_finds_it_done(big: Thing, tmp_path: Path) -> None:
    with big.villain(rate=60_000_000) as server:
        request = big.request(tmp_path / "m", server.url("paced"), connections=1)
        children = [start_fetch(request) for _ in range(3)]
        fetched = []
        for child in children:
            out, complaint = child.communicate(timeout=30)
            assert child.returncode == 0, complaint.decode()
            fetched.append(int(out))
        assert sorted(fetched) == [0, 0, SIZE]
        assert server.sent() == SIZE
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".m.stamp", "m"]


def test_the_lock_outlives_nobody(big: Thing, tmp_path: Path) -> None:
    """A waiting fetch goes on when the holder is killed, with the holder's bytes."""
    with big.villain(rate=60_000_000) as server:
        request = big.request(tmp_path / "m", server.url("paced"), connections=1)
        holder = start_fetch(request)
        while server.sent() < SIZE // 2:
            time.sleep(0.005)
        waiter = start_fetch(request)
        time.sleep(0.3)
        with holder:
            holder.kill()
        out, complaint = waiter.communicate(timeout=30)
        assert waiter.returncode == 0, complaint.decode()
        assert int(out) < SIZE
        assert server.sent() <= SIZE + AGAIN


@pytest.mark.skipif(not oldest(), reason="no Python 3.9 here")
def test_oldest_python(big: Thing, tmp_path: Path) -> None:
    """Killed under the oldest Python a target may have, finished by this one."""
    with big.villain(rate=30_000_000) as server:
        request = big.request(tmp_path / "m", server.url("paced"), connections=2)
        kill_at(request, server, SIZE // 2, oldest())
        child = start_fetch(request, oldest())
        out, complaint = child.communicate(timeout=30)
        assert child.returncode == 0, complaint.decode()
        assert 0 < int(out) <= SIZE // 2 + AGAIN


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_while_the_server_misbehaves(seed: int, big: Thing, tmp_path: Path) -> None:
    """Every trick that a fetch can survive, killed at a random moment, then finished."""
    tricks = ("truncate", "reset_midway", "etag_changes", "flaky", "signed", "content_changed")
    chance = random.Random(seed)
    for trick in tricks:
        path = tmp_path / trick / "m"
        path.parent.mkdir()
        with big.villain() as server:
            request = big.request(path, server.url(trick))
            child = start_fetch(request)
            with child:
                time.sleep(chance.uniform(0.1, 0.5))
                child.kill()
            assert fetch(request).sha256 == big.sha256
        assert hashlib.sha256(path.read_bytes()).hexdigest() == big.sha256


def test_no_process_is_left() -> None:
    mine = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    assert sys.executable + " -c" not in mine.stdout
