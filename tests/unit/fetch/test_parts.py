"""The pure parts: ranges, claims, the journal, the tuner, the ledger, addresses."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_runner.module_utils.dream_core.errors import IntegrityError, NetworkError, UsageError
from dream_runner.module_utils.dream_core.fetch import faults
from dream_runner.module_utils.dream_core.fetch.claims import Board
from dream_runner.module_utils.dream_core.fetch.disk import journal
from dream_runner.module_utils.dream_core.fetch.disk.ranges import RangeSet
from dream_runner.module_utils.dream_core.fetch.faults import SourceFault
from dream_runner.module_utils.dream_core.fetch.request import Network, Patience
from dream_runner.module_utils.dream_core.fetch.source_ledger import Ledger
from dream_runner.module_utils.dream_core.fetch.sources import address
from dream_runner.module_utils.dream_core.fetch.sources.wire import Wire
from dream_runner.module_utils.dream_core.fetch.tuner import Tuner

RANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(RANGES)
def test_ranges_are_sets_of_bytes(steps: list[tuple[bool, int, int]]) -> None:
    ranges, model = RangeSet(), set()
    for adding, start, end in steps:
        if adding:
            ranges.add(start, end)
            model |= set(range(start, end))
        else:
            ranges.remove(start, end)
            model -= set(range(start, end))
    assert {at for start, end in ranges for at in range(start, end)} == model
    assert ranges.total() == len(model)
    missing = sorted(set(range(61)) - model)
    gap = ranges.first_gap(61)
    assert (gap[0] if gap else None) == (missing[0] if missing else None)
    for at in range(61):
        assert (ranges.end_of(at) > at) == (at in model)


def test_claims_never_overlap() -> None:
    board = Board(100)
    board.done.add(10, 20)
    claims = [board.claim(15) for _ in range(8)]
    spans = [(one.position, one.end) for one in claims if one]
    assert spans == [(0, 10), (20, 35), (35, 50), (50, 65), (65, 80), (80, 95), (95, 100)]
    assert claims[-1] is None


def test_a_slow_claim_is_shared() -> None:
    board = Board(64 * 1024 * 1024)
    first = board.claim(None)
    assert first
    first.since -= 10
    board.stored(first, 1000)
    second = board.claim(1024 * 1024)
    assert second
    assert first.end == second.position
    assert second.end == board.size


def test_the_journal_forgets_nothing_it_said(tmp_path: Path) -> None:
    path = str(tmp_path / "m.part.json")
    written = journal.Journal(path, journal.Binding("a" * 64, 100))
    written.open()
    written.prefix(20, "1" * 64)
    written.segment(40, 60, "2" * 64)
    written.segment(80, 90, "3" * 64)
    written.validator("here", '"v"', '"v"')
    written.prefix(50, "4" * 64)
    written.close()
    read, why = journal.load(path)
    assert why is None
    assert read
    assert read.marks() == written.marks()
    assert [(mark.start, mark.end) for mark in read.marks()] == [(0, 20), (20, 50), (80, 90)]
    assert read.validators == {"here": '"v"'}


@given(st.binary(max_size=200))
def test_no_journal_is_an_error(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "m.part.json"
        path.write_bytes(b'{"schema":1,"sha256":"' + b"a" * 64 + b'","size_bytes":9}\n' + content)
        found, _ = journal.load(str(path))
        assert found
        found.marks()


def simulate(per_connection: float, most: float, seconds: float = 3.0, busy: float = 0.05) -> int:
    """Run the tuner against a server with these limits, in bytes per second."""
    tuner, received, cpu, now = Tuner(), 0.0, 0.0, 0.0
    while now < seconds:
        received += min(most, per_connection * tuner.target) * 0.02
        cpu += busy * 0.02
        now += 0.02
        tuner.advise(now, int(received), cpu, 0.001)
    return tuner.target


@pytest.mark.parametrize(
    ("per_connection", "most", "busy", "wanted"),
    [
        (20e6, 1e12, 0.05, 16),  # each connection is throttled
        (10e6, 10e6, 0.05, 1),  # the line is full with one
        (1e9, 1e9, 0.05, 1),  # nothing to gain
        (50e6, 1e12, 0.9, 1),  # this process is the limit
        (10e6, 40e6, 0.05, 4),  # the line is full with four
    ],
)
def test_connections(per_connection: float, most: float, busy: float, wanted: int) -> None:
    assert simulate(per_connection, most, busy=busy) == wanted


def test_a_fixed_number_is_kept() -> None:
    tuner = Tuner(fixed=3)
    tuner.shrink(0.0)
    assert tuner.advise(1.0, 10, 0.0, 0.0) == 3


class Origin:
    def __init__(self, label: str, is_spare: bool = False) -> None:
        self.label = label
        self.is_spare = is_spare


def test_a_failure_of_many_connections_is_one() -> None:
    now = [0.0]
    source = Origin("a")
    ledger = Ledger([source], Patience(attempts=3, backoff_seconds=1.0), lambda: now[0])
    reset = SourceFault("CONNECTION_LOST", "reset")
    assert [ledger.failed(source, reset) for _ in range(8)] == [True] + [False] * 7
    assert 0.5 <= ledger.pause() <= 1.0
    now[0] += 2
    assert ledger.failed(source, reset)
    now[0] += 5
    ledger.failed(source, reset)
    assert ledger.current() is None


def test_progress_clears_failures_and_a_trickle_does_not() -> None:
    now = [0.0]
    source = Origin("a")
    ledger = Ledger([source], Patience(attempts=3), lambda: now[0])
    for _ in range(20):
        ledger.failed(source, SourceFault("TRUNCATED", "cut"))
        ledger.progressed(source, 100_000)
        now[0] += 60
    assert ledger.current() is source
    for _ in range(3):
        ledger.failed(source, SourceFault("TRUNCATED", "cut"))
        ledger.progressed(source, 10)
        now[0] += 60
    assert ledger.current() is None


@pytest.mark.parametrize(("before", "tries"), [(0, 7), (1, 10)])
def test_nobody_there_is_told_sooner(before: int, tries: int) -> None:
    now = [0.0]
    source = Origin("a")
    ledger = Ledger([source], Patience(), lambda: now[0])
    if before:
        ledger.progressed(source, before)
    count = 0
    while ledger.current():
        ledger.failed(source, SourceFault("CONNECTION_REFUSED", "connection refused"))
        now[0] += ledger.pause()
        count += 1
    assert count == tries


def test_a_long_retry_after_means_the_next_source() -> None:
    first, second = Origin("a"), Origin("b")
    ledger = Ledger([first, second], Patience())
    ledger.failed(first, SourceFault("SERVER_BUSY", "503", retry_after=3600))
    assert ledger.current() is second
    ledger.failed(second, SourceFault("SERVER_BUSY", "503", retry_after=3600))
    assert ledger.current() is second
    assert 290 < ledger.pause() <= 300


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("17", 17.0),
        (" 0 ", 0.0),
        ("soon", None),
        ("-3", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert faults.parse_retry_after(value, now=40.0) == seconds


@pytest.mark.parametrize(
    ("number", "code", "permanent"),
    [
        (errno.ECONNREFUSED, "CONNECTION_REFUSED", False),
        (errno.ECONNRESET, "CONNECTION_LOST", False),
        (errno.ETIMEDOUT, "STALLED", False),
        (errno.ENETUNREACH, "NETWORK_UNREACHABLE", False),
        (errno.EHOSTUNREACH, "NETWORK_UNREACHABLE", False),
        (errno.EPERM, "CONNECTION_BLOCKED", True),
        (errno.EAFNOSUPPORT, "CONNECTION_BLOCKED", True),
        (errno.EMFILE, "CONNECTION_LOST", False),
    ],
)
def test_an_error_of_the_socket_by_its_meaning(number: int, code: str, permanent: bool) -> None:
    fault = faults.from_exception(OSError(number, "hush"))
    assert (fault.code, fault.permanent) == (code, permanent)
    assert "hush" not in fault.what


@pytest.mark.parametrize("error", [ValueError("hush"), UnicodeError("hush"), KeyError("hush")])
def test_any_exception_of_a_source_is_its_fault(error: Exception) -> None:
    fault = faults.from_exception(error)
    assert (fault.code, "hush" in fault.what) == ("BAD_ANSWER", False)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), UsageError("x", code="X")])
def test_what_is_no_sources_fault_is_raised_again(error: BaseException) -> None:
    with pytest.raises(type(error)):
        faults.from_exception(error)


def test_a_request_with_a_control_character_is_not_sent() -> None:
    near, far = socket.socketpair()
    with near, far:
        for target in ("/a\r\nX: y", "/a\x00", "/\u6a21"):
            with pytest.raises(SourceFault) as caught:
                Wire(near, 1.0).send(target, {})
            assert caught.value.code == "BAD_REQUEST"
        near.close()
        assert far.recv(1) == b""


def test_backoff_grows_to_its_cap() -> None:
    for failures in range(1, 40):
        longest = min(30.0, 0.5 * 2 ** (failures - 1))
        assert longest / 2 <= faults.backoff(failures, 0.5, 30.0) <= longest


def test_the_verdict_prefers_what_may_pass() -> None:
    gone = ("a", SourceFault("HTTP_NOT_FOUND", "HTTP 404", permanent=True))
    stale = ("b", SourceFault("SIZE_MISMATCH", "other size", stale=True))
    lost = ("c", SourceFault("CONNECTION_LOST", "reset"))
    assert isinstance(faults.verdict("m", [lost, stale]), NetworkError)
    assert isinstance(faults.verdict("m", [stale, gone]), IntegrityError)
    assert faults.verdict("m", [gone]).code == "HTTP_NOT_FOUND"
    assert "check --sha256" in faults.verdict("m", [stale]).hint


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "http://a.example/x", False),
        ("*", "http://a.example/x", True),
        ("a.example", "http://a.example/x", True),
        (".example", "http://a.example/x", True),
        ("example", "http://a.example/x", True),
        ("ample", "http://a.example/x", False),
        ("b,a.example:80", "http://a.example/x", True),
        ("a.example:81", "http://a.example/x", False),
        ("10.0.0.0/8", "http://10.1.2.3/x", True),
        ("10.0.0.0/8", "http://11.1.2.3/x", False),
        ("::1", "http://[::1]/x", True),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool) -> None:
    network = Network(proxies={"http": "proxy:3128"}, no_proxy=no_proxy)
    assert (address.proxy_for(address.parse(url), network) is None) == direct


def test_only_http_proxies() -> None:
    network = Network(proxies={"https": "socks5://me:hush@proxy:1080"})
    with pytest.raises(UsageError) as caught:
        address.proxy_for(address.parse("https://a.example/x"), network)
    assert "hush" not in str(caught.value)


HUB = "://hub.example/o/r/resolve/main/m"


@pytest.mark.parametrize(
    ("url", "endpoint", "carried"),
    [
        ("https" + HUB, "", True),
        ("http" + HUB, "", False),  # in clear
        ("https://hub.example/m", "", False),  # not a hub's URL
        ("https://mirror.example/o/r/resolve/main/m", "", False),  # not the first
        ("https" + HUB, "https://hub.example", True),
        ("https" + HUB, "https://other.example", False),
    ],
)
def test_who_sees_the_token(url: str, endpoint: str, carried: bool) -> None:
    network = Network(token="t", endpoint=endpoint)
    hub = address.hub_origin(["https://plain.example/m", "https" + HUB, url], network)
    assert bool(address.authorization(url, network, hub)) == carried


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pw@h:8/p?sig=1#f", "https://h:8/p?..."),
        ("http://h/p", "http://h/p"),
        ("http://[bad", "(not a URL)"),
    ],
)
def test_shown(url: str, shown: str) -> None:
    assert address.shown(url) == shown


def test_a_peer_with_another_behind_it_gets_no_second_chance() -> None:
    sharer, controller, origin = Origin("a", is_spare=True), Origin("b"), Origin("c")
    ledger = Ledger([sharer, controller, origin], Patience())
    ledger.failed(sharer, SourceFault("CONNECTION_LOST", "reset"))
    assert (ledger.current(), ledger.pause()) == (controller, 0.0)
    ledger.failed(controller, SourceFault("CONNECTION_LOST", "reset"))
    assert ledger.current() is controller
