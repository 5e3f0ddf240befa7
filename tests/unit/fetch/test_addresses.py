"""Whatever is typed as an address ends in an address or in an error that names it, safely."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import Thing, make_thing
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_runner.module_utils.dream_core.errors import DreamError, UsageError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network
from dream_runner.module_utils.dream_core.fetch.sources import address
from dream_runner.module_utils.dream_core.fetch.sources.local import local_path

THING: Thing = make_thing(1000)
#: Any text, lone surrogates too, with the letters that take an address apart more often.
ODD = st.text(st.one_of(st.characters(), st.sampled_from("/:?#@[]%.;&=\\ \t\r\n\0\u00e8\udce8")))


def outcome(call: Callable[..., Any], *given: Any) -> Any:
    """Return what a call returns, or the error that it raises; only a UsageError is one."""
    try:
        return call(*given)
    except UsageError as error:
        return error


@given(ODD, st.sampled_from(["http://", "https://", "HTTP://", "http:", "http://h", "http://h/"]))
def test_any_web_address_is_clean_or_a_usage_error(text: str, begin: str) -> None:
    found = outcome(address.clean, begin + text)
    if isinstance(found, UsageError):
        assert found.code == "BAD_URL"
        assert found.what.isprintable()
        return
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found
    assert address.clean(found) == found
    place = address.parse(found)
    assert place.host
    assert 0 < place.port < 65536


@given(ODD)
def test_any_location_leads_somewhere_or_is_a_usage_error(text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape" if text.isprintable() else "replace")
    found = outcome(address.follow, "https://host.example/a/b?c", raw.decode("latin-1"))
    assert getattr(found, "code", "BAD_URL") == "BAD_URL"
    assert isinstance(found, UsageError) or address.clean(found) == found


@given(ODD, ODD, ODD)
def test_no_text_is_shown_with_its_password(user: str, secret: str, rest: str) -> None:
    """Where the password is told apart at all: between a colon and an at sign."""
    mark = "Q0Z9"
    password = "".join(letter for letter in secret if letter not in "@[]") + mark
    login = "".join(letter for letter in user if letter not in "@[]:/?#")
    shown = address.shown(f"http://{login}:{password}@host.example/{rest.replace(mark, '')}")
    assert mark not in shown
    assert shown.isprintable()


@settings(deadline=None)
@given(ODD)
def test_any_source_ends_in_an_error_of_ours(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for source in ("file:///nonexistent/" + text, "http://h:0/" + text):
            with pytest.raises(DreamError):
                fetch(THING.request(Path(directory, "m"), source))
            assert os.listdir(directory) == []
    found = outcome(local_path, "file://" + text, "m", "0" * 64)
    assert getattr(found, "code", "BAD_URL") == "BAD_URL"


@settings(deadline=None)
@given(ODD)
def test_any_target_is_written_or_ends_in_an_error_of_ours(text: str) -> None:
    """Below a directory of the test: what leads out of it is not tried."""
    name = text.replace("/", "").strip(".") or "m"
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "source").write_bytes(THING.content)
        sources = (os.path.join(directory, "source"),)
        path = os.path.join(directory, "deeper", name)
        found = outcome(lambda: fetch(FetchRequest(path, THING.sha256, sources)))
        if isinstance(found, UsageError):
            assert found.code in ("BAD_PATH", "BAD_NAME")
        else:
            assert Path(path).read_bytes() == THING.content


@pytest.mark.parametrize(
    ("typed", "host", "header"),
    [
        ("http://mod\u00e8le.example/m", "xn--modle-6ra.example", "xn--modle-6ra.example"),
        ("http://HOST.example:8080/m", "host.example", "host.example:8080"),
        ("http://[::1]:8080/m", "::1", "[::1]:8080"),
        ("http://[fe80::1%25eth0]/m", "fe80::1%eth0", "[fe80::1]"),
        ("http://under_score.example/m", "under_score.example", "under_score.example"),
    ],
)
def test_every_form_of_a_host(typed: str, host: str, header: str) -> None:
    place = address.parse(typed)
    assert (place.host, place.host_header) == (host, header)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_certificate_file_that_is_no_file_blocks_nothing(kind: str, tmp_path: Path) -> None:
    path = "/dev/zero" if kind == "device" else str(tmp_path / "pipe")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(UsageError) as caught:
        fetch(THING.request(tmp_path / "m", "https://127.0.0.1:9/m", network=Network(ca_file=path)))
    assert caught.value.code == "BAD_CA_FILE"
