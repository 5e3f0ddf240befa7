"""A way that flips bits: the wrong MiB is read again, and the source is not blamed for it."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from fixtures.fetching import SIZE, Thing, make_thing
from fixtures.villain import Exchange, Villain, _flipped, trick

from dream_runner.module_utils.dream_core.errors import DreamError, NetworkError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch


@trick
def flip_for_a_while(x: Exchange) -> None:
    """One flipped bit somewhere in each answer, until the way is mended."""
    if "mended" in x.server.used or x.end == x.start:
        return x.good()
    x.good(_flipped(x.content, random.randrange(x.start, x.end)))


def attempt(thing: Thing, path: Path, server: Villain, name: str, size: int) -> str:
    try:
        fetch(thing.request(path, server.url(name), size_bytes=size))
    except DreamError as error:
        return error.code
    assert path.read_bytes() == thing.content
    return "right"


@pytest.mark.parametrize("known", [True, False], ids=["size", "no size"])
@pytest.mark.parametrize("size", [300_000, 3_000_000, SIZE])
@pytest.mark.parametrize("name", ["flip_once", "flip_elsewhere", "flip_in_long", "flip_same_twice"])
def test_a_flipped_bit_heals_in_the_same_run(
    name: str, size: int, known: bool, tmp_path: Path
) -> None:
    thing = make_thing(size)
    with thing.villain() as server:
        assert attempt(thing, tmp_path / "m", server, name, size if known else 0) == "right"
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [".m.stamp", "m"]


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_way_that_goes_on_is_told_and_the_source_is_asked_again(
    size: int, tmp_path: Path
) -> None:
    thing = make_thing(size)
    with thing.villain() as server:
        with pytest.raises(NetworkError, match="the connection corrupts data") as caught:
            fetch(thing.request(tmp_path / "m", server.url("flip_for_a_while")))
        assert (caught.value.code, caught.value.exit_code) == ("CONNECTION_CORRUPTS", 5)
        assert attempt(thing, tmp_path / "m", server, "flip_for_a_while", size) != "DIGEST_MISMATCH"
        server.used.add("mended")
        assert attempt(thing, tmp_path / "m", server, "flip_for_a_while", size) == "right"


def test_another_source_is_asked_instead(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        sources = (server.url("flip_always"), server.url("honest"))
        assert fetch(thing.request(tmp_path / "m", *sources)).changed


def test_other_content_is_still_the_sources_fault(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        assert attempt(thing, tmp_path / "m", server, "other_content", SIZE) == "DIGEST_MISMATCH"


def test_a_refuted_source_is_asked_again_after_a_day(thing: Thing, tmp_path: Path) -> None:
    journal = tmp_path / "m.part.json"
    with thing.villain() as server:
        assert attempt(thing, tmp_path / "m", server, "other_content", SIZE) == "DIGEST_MISMATCH"
        before = server.sent()
        with pytest.raises(DreamError, match="was wrong before"):
            fetch(thing.request(tmp_path / "m", server.url("other_content")))
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        mark = next(line for line in lines if isinstance(line, list) and line[0] == "x")
        assert 0 <= time.time() - mark[3] < 60
        mark[3] -= 25 * 3600
        journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
        # The file was put right under its old tag: it is whole now.
        server.content = thing.content
        server.other = thing.content
        assert attempt(thing, tmp_path / "m", server, "other_content", SIZE) == "right"
        assert server.sent() - before >= SIZE
