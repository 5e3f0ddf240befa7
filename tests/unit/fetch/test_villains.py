"""Every villain, each met fresh, after a kill -9, with a rotten byte, on a full disk.

Each cell ends with the right file or the right named error, and never with a wrong
file under the final name. The cells are data: a trick of tests/fixtures/villain.py
and the codes it may end with.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from fixtures.fetching import SIZE, Thing, fill, flip_byte, plant, trusting
from fixtures.villain import TRICKS, dead_port

from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch import FetchRequest, fetch

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
    "etag_changes": RIGHT,
    "content_changed": RIGHT,
    "content_changed_same_etag": RIGHT,
    "other_content": "DIGEST_MISMATCH",
    "flip_once": RIGHT,
    "flip_elsewhere": RIGHT,
    "flip_always": "DIGEST_MISMATCH",
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

#: Where a partial changes the end: what is here already need not be asked for.
ENDS_RESUMED = {**ENDS, "truncate_there": "TRUNCATED", "content_changed_same_etag": RIGHT}


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


@pytest.mark.parametrize("trick", ENDS)
def test_fresh(trick: str, thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url(trick))
        ended = outcome(request)
        assert ended == ENDS[trick]
        check_disk(request, ended)


@pytest.mark.parametrize("trick", ENDS)
def test_resumed_after_kill(trick: str, thing: Thing, killed: Path, tmp_path: Path) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url(trick))
        plant(killed, tmp_path / "m", server.url(trick))
        ended = outcome(request)
        assert ended == ENDS_RESUMED[trick]
        check_disk(request, ended)


@pytest.mark.parametrize("trick", ENDS)
def test_resumed_with_a_rotten_byte(trick: str, thing: Thing, killed: Path, tmp_path: Path) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url(trick))
        plant(killed, tmp_path / "m", server.url(trick))
        flip_byte(tmp_path / "m.part", 1_234_567)
        ended = outcome(request)
        assert ended == ENDS_RESUMED[trick]
        check_disk(request, ended)


@pytest.mark.parametrize("trick", ENDS)
def test_full_disk_at_half(trick: str, thing: Thing, small_disk: Path) -> None:
    directory = small_disk / trick
    directory.mkdir()
    ballast: list[Path] = []
    server = thing.villain(at_bytes=SIZE // 2, at_call=lambda: ballast.append(fill(small_disk)))
    try:
        with server:
            request = thing.request(directory / "m", server.url(trick))
            ended = outcome(request)
            assert ended in ("DISK_FULL", ENDS[trick])
            assert ended != RIGHT or not ballast
            check_disk(request, ended)
            # A fetch that ended early may not have filled the disk: the next one must not, either.
            filled, server.at_call = server.at_call is None, None
            while filled and not ballast:
                time.sleep(0.01)  # The disk was full before the ballast file was closed.
            for path in ballast:
                path.unlink()
            ended = outcome(request)
            assert ended == ENDS_RESUMED[trick]
            check_disk(request, ended)
    finally:
        for entry in [*directory.iterdir(), *ballast]:
            entry.unlink(missing_ok=True)
        directory.rmdir()


def test_every_trick_is_met() -> None:
    elsewhere = {"paced", "redirect_down", "signed_there", "needs_login"}
    assert set(TRICKS) == set(ENDS) | elsewhere


def test_https(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    with thing.villain(certificate=certificate) as server:
        request = thing.request(tmp_path / "m", server.url("honest"), network=trusting(certificate))
        assert outcome(request) == RIGHT
        check_disk(request, RIGHT)


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


def test_slow_handshake(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    with thing.villain(certificate=certificate, handshake_delay=0.6) as server:
        request = thing.request(tmp_path / "m", server.url("honest"), network=trusting(certificate))
        assert outcome(request) == RIGHT


def test_handshake_that_never_ends(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    with thing.villain(certificate=certificate, handshake_delay=30) as server:
        request = thing.request(tmp_path / "m", server.url("honest"), network=trusting(certificate))
        assert outcome(request) == "STALLED"


def test_no_step_down_from_https(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    with thing.villain(certificate=certificate) as server:
        request = thing.request(
            tmp_path / "m", server.url("redirect_down"), network=trusting(certificate)
        )
        assert outcome(request) == "REDIRECT_REFUSED"
        assert [entry.trick for entry in server.log] == ["redirect_down"]


def test_ipv6_only(thing: Thing, tmp_path: Path) -> None:
    try:
        server = thing.villain(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with server:
        request = thing.request(tmp_path / "m", server.url("honest"))
        assert outcome(request) == RIGHT
        check_disk(request, RIGHT)


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
