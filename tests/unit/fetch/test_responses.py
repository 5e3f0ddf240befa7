"""What a server may write in an answer: read past, refused as its own fault, never endless."""

from __future__ import annotations

import hashlib
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import HASTY, Thing, make_thing
from fixtures.rawserver import RawServer, Script, answer, drip

from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network

THING: Thing = make_thing(300_000, seed=3)
RIGHT = "right"
OK = b"HTTP/1.1 200 OK\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(THING.content)


def chunks(*sizes: bytes, end: bytes = b"0\r\n\r\n") -> list[bytes | float]:
    """Return a chunked answer, its one chunk announced as each of ``sizes`` says."""
    size = sizes[0] if sizes else b"%x" % len(THING.content)
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    return [head + size + b"\r\n", THING.content, b"\r\n" + end]


def refusal(status: str) -> list[bytes | float]:
    return answer(b"no", status=status)


#: The answer, and how a fetch from it alone ends.
ANSWERS: dict[str, tuple[Script, str]] = {
    "early hints": ([HINTS, *answer(THING.content)], RIGHT),
    "processing": ([b"HTTP/1.1 102 Processing\r\n\r\n" * 20, *answer(THING.content)], RIGHT),
    "continue": ([b"HTTP/1.1 100 Continue\r\n\r\n", *answer(THING.content)], RIGHT),
    "150 fields": (answer(THING.content, *(f"X-{n}: y" for n in range(150))), RIGHT),
    "folded field": (answer(THING.content, "X-Long: a\r\n b"), RIGHT),
    "no colon": (answer(THING.content, "what is this"), RIGHT),
    "twice the length": (answer(THING.content, LENGTH.decode().strip()), RIGHT),
    "203": (answer(THING.content, status="203 Non-Authoritative"), RIGHT),
    "bare line feeds": (
        [OK.replace(b"\r", b"") + LENGTH.replace(b"\r", b"") + b"\n", THING.content],
        RIGHT,
    ),
    "chunked": (chunks(), RIGHT),
    "chunk extension": (chunks(b"%x;name=value" % len(THING.content)), RIGHT),
    "trailers": (chunks(end=b"0\r\nX-Sum: 1\r\n\r\n"), RIGHT),
    "HTTP/1.0": ([b"HTTP/1.0 200 OK\r\n\r\n", THING.content], RIGHT),
    "another protocol": ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], "BAD_ANSWER"),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n"], "BAD_ANSWER"),
    "negative length": ([OK + b"Content-Length: -5\r\n\r\n"], "BAD_ANSWER"),
    "length in other digits": (
        [OK + "Content-Length: \u00b2\r\n\r\n".encode("latin-1")],
        "BAD_ANSWER",
    ),
    "length of 5000 digits": ([OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"], "BAD_ANSWER"),
    "two lengths": (answer(THING.content, "Content-Length: 7"), "BAD_ANSWER"),
    "chunk size below zero": (chunks(b"-5"), "BAD_ANSWER"),
    "chunk size with sign": (chunks(b"+4"), "BAD_ANSWER"),
    "chunk size with prefix": (chunks(b"0x4"), "BAD_ANSWER"),
    "chunk size too large": (chunks(b"f" * 40), "BAD_ANSWER"),
    "chunk that is longer": (chunks(b"10"), "BAD_ANSWER"),
    "range of 5000 digits": (
        [b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-" + b"9" * 5000 + b"/*\r\n\r\n"],
        "RANGE_BROKEN",
    ),
    "range beyond the end": (
        [b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/5\r\nContent-Length: 10\r\n\r\n0123456789"],
        "RANGE_BROKEN",
    ),
    "gzip as transfer coding": ([OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"], "ENCODED_BODY"),
    "endless head": ([OK, b"X: " + b"y" * 400_000], "BAD_ANSWER"),
    "endless fields": ([OK, b"X: y\r\n" * 60_000], "BAD_ANSWER"),
    "endless interim": ([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000], "BAD_ANSWER"),
    "endless trailers": (chunks(end=b"0\r\n" + b"X: y\r\n" * 20_000), "BAD_ANSWER"),
    "endless chunk size": (chunks(b"4;" + b"x" * 9000), "BAD_ANSWER"),
    "drip of a status": (drip(b"HTTP/1.1 200 OKKKKKKKKKKK", 0.1), "STALLED"),
    "drip of fields": ([OK, *([b"X: y\r\n", 0.2] * 40)], "STALLED"),
    "drip of interims": ([b"HTTP/1.1 102 Processing\r\n\r\n", 0.2] * 40, "STALLED"),
    "drip of trailers": ([*chunks(end=b"0\r\n"), *([b"X: y\r\n", 0.2] * 40)], "STALLED"),
    "drip of a chunk size": ([*chunks(b"1;")[:1], *([b"x", 0.1] * 80)], "STALLED"),
    "drip of chunks": (
        [OK + b"Transfer-Encoding: chunked\r\n\r\n", *([b"1\r\nx\r\n", 0.1] * 80)],
        "STALLED",
    ),
    "captive portal": (refusal("511 Network Authentication Required"), "NETWORK_LOGIN"),
    "proxy login": (refusal("407 Proxy Authentication Required"), "PROXY_REFUSED"),
    "not implemented": (refusal("501 Not Implemented"), "HTTP_REFUSED"),
    "loop": (refusal("508 Loop Detected"), "HTTP_REFUSED"),
    "no version": (refusal("505 HTTP Version Not Supported"), "HTTP_REFUSED"),
    "bandwidth": (refusal("509 Bandwidth Limit Exceeded"), "SERVER_BUSY"),
    "unknown status": (refusal("599 What"), "SERVER_ERROR"),
}

#: Ends that waiting does not change: asked once, or once again without a range.
FOR_GOOD = {"NETWORK_LOGIN", "PROXY_REFUSED", "HTTP_REFUSED", "ENCODED_BODY", "RANGE_BROKEN"}


def outcome(path: Path, *sources: str, **more: Any) -> tuple[str, str]:
    """Return the code and the text with which a fetch ends."""
    try:
        fetch(THING.request(path, *sources, **more))
    except DreamError as error:
        return error.code, f"{error.what} {error.hint}"
    assert path.read_bytes() == THING.content
    return RIGHT, ""


@pytest.mark.parametrize("name", ANSWERS)
def test_an_odd_answer(name: str, tmp_path: Path) -> None:
    script, end = ANSWERS[name]
    # A drip is a generator, and is asked for once in a test.
    script = (
        script
        if isinstance(script, list)
        else [item for item, _ in zip(script, range(90), strict=False)]
    )
    with RawServer(THING.content, {"/odd": script}) as server:
        began = time.monotonic()
        code, text = outcome(tmp_path / "m", server.url("/odd"), size_bytes=0)
        assert code == end, text
        assert time.monotonic() - began < 4 * 4 * HASTY.stall_seconds
        if end in FOR_GOOD:
            assert len(server.asked) <= 2
        # Whatever one server writes, the next one is asked.
        path = tmp_path / "other" / "m"
        assert outcome(path, server.url("/odd"), server.url("/ok"), size_bytes=0)[0] == RIGHT


HEADERS = [
    "Content-Length",
    "Content-Range",
    "Content-Encoding",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "ETag",
    "Last-Modified",
    "Location",
    "Retry-After",
    "Repr-Digest",
    "X-Linked-ETag",
]


@pytest.mark.parametrize("status", ["200 OK", "206 Partial", "302 Found", "503 Busy"])
@pytest.mark.parametrize("header", HEADERS)
def test_any_byte_in_any_header_is_the_servers_fault(
    header: str, status: str, tmp_path: Path
) -> None:
    """Every byte once, alone and among digits, and lines of chance: another source is asked."""
    chance = random.Random(header + status)
    every = bytes(range(256)).replace(b"\n", b"")
    values = [every, every[:32], b"", b"9" * 30, b"bytes 0-9/" + every[128:]]
    values += [chance.randbytes(40).replace(b"\n", b"") for _ in range(2)]
    scripts: dict[str, Script] = {
        f"/{number}": [
            f"HTTP/1.1 {status}\r\n{header}: ".encode() + value + b"\r\n\r\nnot the file"
        ]
        for number, value in enumerate(values)
    }
    with RawServer(THING.content, scripts) as server:
        for number in range(len(values)):
            sources = (server.url(f"/{number}"), server.url("/ok"))
            path = tmp_path / str(number) / "m"
            assert outcome(path, *sources, patience=BRISK, size_bytes=0)[0] == RIGHT


#: Nothing is waited for.
BRISK = type(HASTY)(
    connect_seconds=1, stall_seconds=0.5, attempts=2, backoff_seconds=0, retry_after_cap_seconds=0
)


@pytest.mark.parametrize(
    "pause", ["99999999999999999999", "\u00b2", "Thu, 99 Foo 9999999 00:00:00", "-1"]
)
def test_retry_after_is_a_number_or_a_date(pause: str, tmp_path: Path) -> None:
    busy = answer(b"", f"Retry-After: {pause}", status="503 Busy")
    with RawServer(THING.content, {"/busy": busy}) as server:
        assert outcome(tmp_path / "m", server.url("/busy"), patience=BRISK)[0] == "SERVER_BUSY"


# --- addresses with letters


def redirect(location: bytes) -> list[bytes | float]:
    return [b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"]


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/mod\u00e8le/ok", "/mod%C3%A8le/ok"),
        ("odd?n=a b", "/odd?n=a%20b"),
        ("/%6dodel?x=%2F", "/%6dodel?x=%2F"),
        ("/\u6a21\u578b#part", "/%E6%A8%A1%E5%9E%8B"),
        ('/"a"<b>', "/%22a%22%3Cb%3E"),
    ],
)
def test_letters_and_blanks_of_a_redirect_are_encoded(
    location: str, asked: str, tmp_path: Path
) -> None:
    lead = [
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n"
    ]
    scripts = {"/lead": lead, asked: answer(THING.content)}
    with RawServer(THING.content, scripts) as server:
        assert outcome(tmp_path / "m", server.url("/lead"))[0] == RIGHT
        assert server.asked[1] == f"GET {asked} HTTP/1.1"


@pytest.mark.parametrize(
    "location",
    [b"/a\tb", b"/a\x00b", b"/a\x7f", b"http://[bad/", b"http://a..b/", b"ftp://h/x", b""],
)
def test_a_redirect_that_leads_nowhere_costs_its_source_only(
    location: bytes, tmp_path: Path
) -> None:
    with RawServer(THING.content, {"/lead": redirect(location)}) as server:
        assert outcome(tmp_path / "m", server.url("/lead"))[0] == "REDIRECT_REFUSED"
        assert outcome(tmp_path / "m", server.url("/lead"), server.url("/ok"))[0] == RIGHT


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("/mod\u00e8le", "/mod%C3%A8le"),
        ("/a b?c=d e", "/a%20b?c=d%20e"),
        ("/m\udce8le", "/m%E8le"),
        ("/{x}|y", "/%7Bx%7D|y"),
    ],
)
def test_letters_and_blanks_that_were_typed_are_encoded(
    typed: str, asked: str, tmp_path: Path
) -> None:
    with RawServer(THING.content, {asked: answer(THING.content)}) as server:
        code, text = outcome(tmp_path / "m", server.url(typed))
        assert code == RIGHT, (text, server.asked)


# --- what is not the file

PAGE = b"<!DOCTYPE html><title>Welcome</title>" + b"." * 100


def pointer(digest: str, size: int) -> bytes:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n"
    return text.encode()


def ranged(content: bytes, kind: str) -> list[bytes | float]:
    """Return an answer of status 206 for all of ``content``."""
    field = f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}"
    return answer(content, field, f"Content-Type: {kind}", status="206 Partial Content")


@pytest.mark.parametrize("known", [True, False], ids=["size", "no size"])
@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (
            pointer(THING.sha256, 300_000),
            "text/plain",
            "Git LFS pointer.*this file",
        ),
        (pointer("0" * 64, 5), "text/plain", "/resolve/"),
        (PAGE, "text/html; charset=utf-8", "web page"),
        (PAGE, "application/octet-stream", "web page"),
        (b"\n <HTML>", "Text/HTML", "web page"),
    ],
)
def test_a_pointer_or_a_page_is_named(
    content: bytes, kind: str, words: str, status: int, known: bool, tmp_path: Path
) -> None:
    script = ranged(content, kind) if status == 206 else answer(content, f"Content-Type: {kind}")
    size = len(THING.content) if known else 0
    with RawServer(THING.content, {"/odd": script}) as server:
        code, text = outcome(tmp_path / "m", server.url("/odd"), size_bytes=size)
        assert code == "NOT_THE_FILE"
        assert re.search(words, text)
        assert outcome(tmp_path / "m", server.url("/odd"), server.url("/ok"))[0] == RIGHT


def test_a_page_that_is_wanted_is_fetched(tmp_path: Path) -> None:
    digest = hashlib.sha256(PAGE).hexdigest()
    script = answer(PAGE, "Content-Type: text/html")
    with RawServer(PAGE, {"/page": script}) as server:
        for size in (0, len(PAGE)):
            path = tmp_path / str(size) / "m"
            fetch(FetchRequest(str(path), digest, (server.url("/page"),), size_bytes=size))
            assert path.read_bytes() == PAGE


def test_a_size_that_one_source_states_does_not_bind_the_next(tmp_path: Path) -> None:
    other = make_thing(250_000, seed=9).content
    scripts = {"/other": answer(other), "/short": [OK + b"Content-Length: 9000000\r\n\r\nxy"]}
    with RawServer(THING.content, scripts) as server:
        sources = [server.url(path) for path in ("/other", "/short", "/ok")]
        assert outcome(tmp_path / "m", *sources, size_bytes=0)[0] == RIGHT
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [".m.stamp", "m"]


# --- a proxy's answer to CONNECT


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (refusal("407 Proxy Authentication Required"), "PROXY_REFUSED"),
        (refusal("403 Forbidden"), "PROXY_REFUSED"),
        (refusal("511 Login"), "NETWORK_LOGIN"),
        (refusal("502 Bad Gateway"), "SERVER_ERROR"),
        ([b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 60_000], "BAD_ANSWER"),
        ([b"HTTP/1.1 200 OK\r\n", *([b"X: y\r\n", 0.2] * 40)], "STALLED"),
        ([b"HTTP/1.1 200 OK\r\n\r\nand more"], "BAD_ANSWER"),
        ([b"\x00\x01"], "CONNECTION_LOST"),
    ],
)
def test_a_proxys_answer_has_a_bound_and_a_meaning(
    script: Script, end: str, tmp_path: Path
) -> None:
    with RawServer(THING.content, {"*": script}) as proxy:
        network = Network(proxies={"https": f"http://me:hush@127.0.0.1:{proxy.port}"})
        code, text = outcome(tmp_path / "m", "https://host.invalid/m", network=network)
        assert code == end
        assert "hush" not in text
        assert len(proxy.asked) == 1 or end not in FOR_GOOD
