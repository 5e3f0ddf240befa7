"""Passwords, tokens and signatures: used where they belong, in no text that anybody sees."""

from __future__ import annotations

import base64
import os
import traceback
from pathlib import Path

import pytest
from fixtures.fetching import Thing, make_thing
from fixtures.rawserver import RawServer, answer

from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import Network
from dream_runner.module_utils.dream_core.fetch.sources import address

THING: Thing = make_thing(20_000, seed=5)
HUB = "/owner/repository/resolve/main/m"


def failure(path: Path, url: str, network: Network) -> tuple[str, str]:
    """Return the code of a failed fetch, and everything that its error could show."""
    with pytest.raises(DreamError) as caught:
        fetch(THING.request(path, url, network=network))
    error = caught.value
    return error.code, f"{error.to_dict()} {''.join(traceback.format_exception(error))}"


@pytest.mark.parametrize("token", ["hf_sesame\n", " hf_sesame\r\n"])
def test_a_line_end_around_a_token_is_cut_off(token: str, tmp_path: Path) -> None:
    with RawServer(THING.content, {HUB: answer(THING.content)}) as server:
        network = Network(token=token)
        assert fetch(THING.request(tmp_path / "m", server.url(HUB), network=network)).changed
        assert b"\r\nAuthorization: Bearer hf_sesame\r\n" in server.heads[0]


@pytest.mark.parametrize("token", ["hf_\nsesame", "hf_ses ame", "hf_s\u00e8same", "\x00sesame"])
def test_a_token_that_no_header_carries_is_named_not_shown(token: str, tmp_path: Path) -> None:
    with RawServer(THING.content, {}) as server:
        code, text = failure(tmp_path / "m", server.url(HUB), Network(token=token))
        assert (code, server.asked) == ("BAD_TOKEN", [])
        assert "HF_TOKEN" in text
        assert "same" not in text


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"machine h login me password\nmachine x\nsesame\n", 3),
        (b"machine h login me pasword sesame\n", 1),
        (b"sesame\n", 1),
        (b"machine h login me password s\xe8same\n", 0),
    ],
)
def test_a_netrc_that_does_not_parse_shows_a_line_number_only(
    content: bytes, line: int, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_bytes(content)
    network = Network(netrc=str(tmp_path / "netrc"))
    code, text = failure(tmp_path / "m", "http://127.0.0.1:9/m", network)
    assert code == "BAD_NETRC"
    assert "same" not in text
    assert not line or "line " in text


@pytest.mark.parametrize("form", ["utf-8-sig", "utf-16", "crlf"])
def test_a_netrc_of_any_editor_is_read(form: str, tmp_path: Path) -> None:
    text = "machine 127.0.0.1\n\tlogin me\n\tpassword ses@me\n"
    raw = text.replace("\n", "\r\n").encode() if form == "crlf" else text.encode(form)
    (tmp_path / "netrc").write_bytes(raw)
    with RawServer(THING.content, {}) as server:
        network = Network(netrc=str(tmp_path / "netrc"))
        fetch(THING.request(tmp_path / "m", server.url("/ok"), network=network))
        assert base64.b64encode(b"me:ses@me") in server.heads[0]


@pytest.mark.parametrize("kind", ["directory", "device", "pipe"])
def test_a_netrc_that_is_no_file_blocks_nothing(kind: str, tmp_path: Path) -> None:
    path = {"directory": str(tmp_path), "device": "/dev/zero"}.get(kind, str(tmp_path / "pipe"))
    if kind == "pipe":
        os.mkfifo(path)
    code, _ = failure(tmp_path / "m", "http://127.0.0.1:9/m", Network(netrc=path))
    assert code == "BAD_NETRC"


@pytest.mark.parametrize(
    "url",
    [
        "http://me:ses/ame@127.0.0.1:{port}/gone",
        "http://me:ses?ame@127.0.0.1:{port}/gone",
        "http://me:ses#ame@127.0.0.1:{port}/gone",
        "http://me:ses@ame@127.0.0.1:{port}/gone",
        "http://me:ses\name@127.0.0.1:{port}/gone",
        "http://[ses:ame@127.0.0.1:{port}/gone",
        "http://127.0.0.1:{port}/gone;signature=sesame/x",
        "http://127.0.0.1:{port}/gone?signature=sesame",
        "http://127.0.0.1:{port}/gone#sesame",
        "http://127.0.0.1:{port}ame/gone",
    ],
)
def test_no_form_of_an_address_shows_its_secret(url: str, tmp_path: Path) -> None:
    with RawServer(THING.content, {"*": answer(b"no", status="404 Not Found")}) as server:
        _, text = failure(tmp_path / "m", url.format(port=server.port), Network())
        shown = text.split("Traceback")[0]
        assert "ses" not in shown.replace("sesame.invalid", "")
        assert "ame@" not in shown


def test_a_numeric_password_with_a_slash_is_not_taken_for_a_port() -> None:
    assert address.shown("http://me:1234/56@host/m") == "http://me:***/***@host/m"
    assert address.shown("http://me:1234?56@host/m") == "http://me:***/***?..."


def test_an_ordinary_path_with_an_at_sign_keeps_working(tmp_path: Path) -> None:
    with RawServer(THING.content, {"/@scope/m": answer(THING.content)}) as server:
        assert fetch(THING.request(tmp_path / "m", server.url("/@scope/m"))).changed


def test_a_password_keeps_its_bytes(tmp_path: Path) -> None:
    """What is percent-encoded may be no UTF-8, and may hold any letter."""
    with RawServer(THING.content, {"/m": answer(THING.content)}) as server:
        url = server.url("/m").replace("://", "://me:s%2Fe%e8s@")
        fetch(THING.request(tmp_path / "m", url))
        field = next(line for line in server.heads[0].split(b"\r\n") if b"Authorization" in line)
        assert base64.b64decode(field.split()[-1]) == b"me:s/e\xe8s"


def test_what_a_server_says_is_not_repeated(tmp_path: Path) -> None:
    """Reasons, field values and codings may hold anything, escapes for the terminal as well."""
    odd = "\x1b]0;sesame\x07"
    scripts = {
        "/reason": answer(b"", status=f"404 {odd}"),
        "/coding": answer(b"x", f"Content-Encoding: {odd}"),
        "/first": [odd.encode() + b"\r\n"],
        "/location": answer(b"", f"Location: http://{odd}/", status="302 Found"),
    }
    with RawServer(THING.content, scripts) as server:
        for path in scripts:
            _, text = failure(tmp_path / "m", server.url(path), Network())
            shown = text.split("Traceback")[0]
            assert "\\x1b" not in shown
            assert "\\x07" not in shown
