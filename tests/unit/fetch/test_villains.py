"""Every villain, each met fresh, after a kill -9, with a rotten byte, on a full disk.

Each cell ends with the right file or the right named error, and never with a wrong
file under the final name. The cells are data: a trick of tests/fixtures/villain.py
and the codes it may end with.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import SIZE, Thing, fill, flip_byte, plant, trusting
from fixtures.villain import TRICKS, dead_port

from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network

RIGHT = "right"

#: Trick: how a fetch from it ends, whatever the circumstances.
ENDS: dict[str, str] = {
    "honest": RIGHT,
    "truncate": RIGHT,
    "truncate_there": "TRUNCATED",
    "stall": RIGHT,
    "stall_always": "STALLED",
    "drip": "STALLED",
    "reset_midway": RIGHT,
    "length_short": "SIZE_MISMATCH",
    "length_long": "SIZE_MISMATCH",
    "length_absent": RIGHT,
    "chunked": RIGHT,
    "ignore_range": RIGHT,
    "range_shifted": RIGHT,
    "range_overlapping": RIGHT,
    "range_whole": RIGHT,
    "range_refused": RIGHT,
    "range_beyond": RIGHT,
    "etag_changes": RIGHT,
    "content_changed": RIGHT,
    "content_changed_same_etag": RIGHT,
    "other_content": "DIGEST_MISMATCH",
    "flip_once": RIGHT,
    "flip_elsewhere": RIGHT,
    "flip_in_long": RIGHT,
    "flip_same_twice": RIGHT,
    "flip_always": "CONNECTION_CORRUPTS",
    "gzipped": "ENCODED_BODY",
    "redirect_loop": "REDIRECT_LOOP",
    "redirect_deep": "REDIRECT_LOOP",
    "redirect_away": RIGHT,
    "busy_seconds": RIGHT,
    "busy_date": RIGHT,
    "busy_always": "SERVER_BUSY",
    "flaky": RIGHT,
    "broken": "SERVER_ERROR",
    "denied": "HTTP_DENIED",
    "missing": "HTTP_NOT_FOUND",
    "signed": RIGHT,
    "html": "NOT_THE_FILE",
    "trailing": RIGHT,
    "trailing_unsized": RIGHT,
    "close_first": RIGHT,
    "close_always": "CONNECTION_LOST",
    "states_other_digest": "CATALOGUE_STALE",
    "states_other_repr": "CATALOGUE_STALE",
    "states_other_size": "SIZE_MISMATCH",
}


@dataclass(frozen=True)
class Place:
    """Where a villain is found, if the place and not the trick makes it one."""

    end: str
    trick: str = "honest"
    host: str = "127.0.0.1"
    #: The fixture with its certificate, whether we trust it, and how long it thinks.
    tls: str = ""
    trusted: bool = True
    handshake_delay: float = 0.0
    dead_mirrors: bool = False


PLACES: dict[str, Place] = {
    "https": Place(RIGHT, tls="certificate"),
    "slow_handshake": Place(RIGHT, tls="certificate", handshake_delay=0.6),
    "endless_handshake": Place("STALLED", tls="certificate", handshake_delay=30),
    "unknown_authority": Place("TLS_CERTIFICATE", tls="certificate", trusted=False),
    "expired_certificate": Place("TLS_CERTIFICATE", tls="expired"),
    "redirect_down": Place("REDIRECT_REFUSED", trick="redirect_down", tls="certificate"),
    "ipv6_only": Place(RIGHT, host="::1"),
    "half_the_mirrors_dead": Place(RIGHT, dead_mirrors=True),
}

ALL = {**ENDS, **{name: place.end for name, place in PLACES.items()}}


class Cell:
    """One villain and what a fetch from it looks like."""

    def __init__(
        self, name: str, thing: Thing, fixtures: pytest.FixtureRequest, **more: Any
    ) -> None:
        self._place = place = PLACES.get(name, Place(RIGHT, trick=name))
        self._thing = thing
        self._network = Network()
        if place.tls:
            certificate = fixtures.getfixturevalue(place.tls)
            more.update(certificate=certificate, handshake_delay=place.handshake_delay)
            self._network = trusting(certificate) if place.trusted else Network()
        try:
            self.server = thing.villain(host=place.host, **more)
        except OSError:
            pytest.skip(f"nothing listens on {place.host} here")
        self.url = self.server.url(place.trick)

    def request(self, path: Path) -> FetchRequest:
        sources = [self.url]
        if self._place.dead_mirrors:
            tricks = ("broken", "missing", "html", "states_other_digest")
            sources = ["file:///nowhere/m", *map(self.server.url, tricks), self.url]
        return self._thing.request(path, *sources, network=self._network)


def outcome(request: FetchRequest) -> str:
    try:
        result = fetch(request)
    except DreamError as error:
        return error.code
    assert result.sha256 == request.sha256
    return RIGHT


def check_disk(request: FetchRequest, ended: str) -> None:
    """Nothing wrong under the final name; after success nothing else but the stamp."""
    path = Path(request.path)
    if ended == RIGHT:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == request.sha256
        names = sorted(entry.name for entry in path.parent.iterdir())
        assert names == [".m.stamp", "m"]
    else:
        assert not path.exists()


@pytest.mark.parametrize("name", ALL)
def test_fresh(name: str, thing: Thing, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    cell = Cell(name, thing, request)
    with cell.server:
        wanted = cell.request(tmp_path / "m")
        ended = outcome(wanted)
        assert ended == ALL[name]
        check_disk(wanted, ended)


@pytest.mark.parametrize("rotten", [False, True], ids=["killed", "rotten"])
@pytest.mark.parametrize("name", ALL)
def test_resumed(
    name: str,
    rotten: bool,
    thing: Thing,
    killed: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    cell = Cell(name, thing, request)
    with cell.server:
        wanted = cell.request(tmp_path / "m")
        plant(killed, tmp_path / "m", cell.url)
        if rotten:
            flip_byte(tmp_path / "m.part", 1_234_567)
        ended = outcome(wanted)
        assert ended == ALL[name]
        check_disk(wanted, ended)


@pytest.mark.parametrize("name", ALL)
def test_full_disk_at_half(
    name: str, thing: Thing, small_disk: Path, request: pytest.FixtureRequest
) -> None:
    directory = small_disk / name
    directory.mkdir()
    ballast: list[Path] = []
    cell = Cell(
        name, thing, request, at_bytes=SIZE // 2, at_call=lambda: ballast.append(fill(small_disk))
    )
    server = cell.server
    try:
        with server:
            wanted = cell.request(directory / "m")
            ended = outcome(wanted)
            assert ended in ("DISK_FULL", ALL[name])
            assert ended != RIGHT or not ballast
            check_disk(wanted, ended)
            # A fetch that ended early may not have filled the disk: the next one must not, either.
            filled, server.at_call = server.at_call is None, None
            while filled and not ballast:
                time.sleep(0.01)  # The disk was full before the ballast file was closed.
            for path in ballast:
                path.unlink()
            ended = outcome(wanted)
            assert ended == ALL[name]
            check_disk(wanted, ended)
    finally:
        for entry in [*directory.iterdir(), *ballast]:
            entry.unlink(missing_ok=True)
        directory.rmdir()


def test_every_trick_is_met() -> None:
    elsewhere = {"paced", "redirect_down", "signed_there", "needs_login"}
    assert set(TRICKS) & set(PLACES) == {"redirect_down"}
    # Another test may have added one of its own to this process.
    tricks = {name for name, play in TRICKS.items() if play.__module__.endswith("villain")}
    assert tricks == set(ENDS) | elsewhere


def test_unknown_authority(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    with thing.villain(certificate=certificate) as server:
        assert outcome(thing.request(tmp_path / "m", server.url("honest"))) == "TLS_CERTIFICATE"
        assert server.log == []


def test_expired_certificate(thing: Thing, tmp_path: Path, expired: Path) -> None:
    with thing.villain(certificate=expired) as server:
        request = thing.request(tmp_path / "m", server.url("honest"), network=trusting(expired))
        with pytest.raises(DreamError, match="expired") as caught:
            fetch(request)
        assert caught.value.code == "TLS_CERTIFICATE"
        assert list(tmp_path.iterdir()) == []


def test_no_step_down_from_https(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    with thing.villain(certificate=certificate) as server:
        request = thing.request(
            tmp_path / "m", server.url("redirect_down"), network=trusting(certificate)
        )
        assert outcome(request) == "REDIRECT_REFUSED"
        assert [entry.trick for entry in server.log] == ["redirect_down"]


@pytest.mark.parametrize("known_size", [True, False])
def test_half_the_mirrors_dead(thing: Thing, tmp_path: Path, known_size: bool) -> None:
    tricks = ("broken", "honest", "missing", "close_always", "html", "states_other_digest")
    with dead_port() as port, thing.villain() as server:
        dead = [f"http://127.0.0.1:{port}/m", "file:///nowhere/m", *map(server.url, tricks[2:])]
        sources = (dead[0], server.url("broken"), *dead[1:], server.url("honest"))
        size = SIZE if known_size else 0
        request = thing.request(tmp_path / "m", *sources, size_bytes=size)
        result = fetch(request)
        assert result.source == server.url("honest")
        assert result.bytes_fetched == SIZE
        check_disk(request, RIGHT)


@pytest.mark.parametrize("wrong", ["other_content", "flip_always", "truncate_there"])
def test_a_wrong_mirror_costs_itself_only(wrong: str, thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url(wrong), server.url("honest"))
        assert outcome(request) == RIGHT
        check_disk(request, RIGHT)


def test_all_reasons_are_named(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url("missing"), server.url("denied"))
        with pytest.raises(DreamError) as caught:
            fetch(request)
        for words in (server.url("missing"), "HTTP 404", server.url("denied"), "HTTP 401"):
            assert words in caught.value.what
