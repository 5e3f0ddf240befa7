"""What a fetch finds, keeps, reuses and tells, away from bad servers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import SIZE, Thing, flip_byte, make_thing, plant
from fixtures.villain import Tunnel, Villain

from dream_runner.module_utils.dream_core.errors import DiskError, DreamError, UsageError
from dream_runner.module_utils.dream_core.fetch.disk import stamp
from dream_runner.module_utils.dream_core.fetch.disk.partial import find_partials, partial_progress
from dream_runner.module_utils.dream_core.fetch.disk.stamp import is_present
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network, Progress


def no_reading(*_: Any) -> str:
    raise AssertionError("the file was read")


def test_a_second_fetch_reads_and_asks_nothing(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url("honest"))
        assert fetch(request).changed
        # One, or two where it was found slow enough to try a second connection.
        asked = len(server.log)
        monkeypatch.setattr(stamp, "hash_file", no_reading)
        again = fetch(request)
        assert (again.changed, again.verified_by, again.bytes_fetched) == (False, "stamp", 0)
        assert len(server.log) == asked


def test_verify_reads_and_repairs(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        path = tmp_path / "m"
        fetch(thing.request(path, server.url("honest")))
        status = path.stat()
        flip_byte(path, 99)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert fetch(thing.request(path, server.url("honest"))).verified_by == "stamp"
        mended = fetch(thing.request(path, server.url("honest"), verify=True))
        assert mended.changed
        assert path.read_bytes() == thing.content


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replaced(path: Path) -> None:
    status, content = path.stat(), path.read_bytes()
    path.rename(path.with_name("old"))
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("touch", [os.utime, rewritten, replaced])
def test_a_touched_file_is_hashed_again(touch: Any, thing: Thing, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(thing.content)
    assert is_present(str(path), thing.sha256).verified_by == "hash"
    assert is_present(str(path), thing.sha256).verified_by == "stamp"
    touch(path)
    found = is_present(str(path), thing.sha256, SIZE)
    assert (found.present, found.verified_by) == (True, "hash")


def test_presence_without_a_trace(thing: Thing, tmp_path: Path) -> None:
    path = tmp_path / "m"
    assert not is_present(str(path), thing.sha256).present
    path.write_bytes(thing.other)
    found = is_present(str(path), thing.sha256, SIZE, write=False)
    assert not found.present
    assert found.why.startswith("its sha256 is ")
    assert "bytes instead of" in is_present(str(path), thing.sha256, SIZE + 1).why
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("form", ["url", "path", "bundle", "blobs"])
def test_local_sources(form: str, thing: Thing, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    names = {"bundle": "models/m", "blobs": "blobs/sha256/" + thing.sha256}
    file = origin / names.get(form, "any name")
    file.parent.mkdir(parents=True)
    file.write_bytes(thing.content)
    source = {"url": file.as_uri(), "path": str(file)}.get(form, str(origin))
    path = tmp_path / "here" / "m"
    result = fetch(thing.request(path, source))
    assert path.read_bytes() == thing.content
    assert result.source == f"file://{file}"
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".m.stamp", "m"]


def test_a_wrong_local_file(thing: Thing, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(thing.other)
    path = tmp_path / "here" / "m"
    with pytest.raises(DreamError) as caught:
        fetch(thing.request(path, str(tmp_path / "wrong")))
    assert (caught.value.code, caught.value.exit_code) == ("DIGEST_MISMATCH", 7)
    assert not path.exists()


def test_a_peer_serves_by_digest(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        url = server.url("honest") + "?{sha256}"
        assert fetch(thing.request(tmp_path / "m", url)).changed


def test_size_unknown(thing: Thing, tmp_path: Path) -> None:
    for name in ("honest", "chunked", "ignore_range", "length_absent", "truncate"):
        with thing.villain() as server:
            request = thing.request(tmp_path / name, server.url(name), size_bytes=0)
            assert fetch(request).size_bytes == SIZE


def test_size_unknown_and_all_is_here(thing: Thing, tmp_path: Path) -> None:
    """416 says that nothing is left to fetch; the digest says whether it is right."""
    (tmp_path / "m.part").write_bytes(thing.content)
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url("range_beyond"), size_bytes=0)
        result = fetch(request)
        assert (result.bytes_reused, result.bytes_fetched) == (SIZE, 0)
        assert server.sent() < 100
    assert (tmp_path / "m").read_bytes() == thing.content


def test_on_disk_before_it_has_its_name(
    thing: Thing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, name, directory: a power loss in between leaves a partial or the file, never less."""
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        steps.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        sync(handle)

    def note_replace(old: str, new: str) -> None:
        steps.append(f"{Path(old).name} to {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    (tmp_path / "origin").write_bytes(thing.content)
    directory = tmp_path / "models"
    fetch(thing.request(directory / "m", str(tmp_path / "origin")))
    at = steps.index("m.part to m")
    assert steps[at - 1 : at + 2] == ["m.part", "m.part to m", "models"]


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    digest = hashlib.sha256(b"").hexdigest()
    fetch(FetchRequest(str(tmp_path / "m"), digest, (str(tmp_path / "empty"),)))
    assert (tmp_path / "m").read_bytes() == b""


def test_resume_from_another_source(thing: Thing, killed: Path, tmp_path: Path) -> None:
    """The digest is the identity: what one URL began, another one ends."""
    (tmp_path / "copy").write_bytes(thing.content)
    plant(killed, tmp_path / "m", "http://elsewhere.invalid/m")
    known = partial_progress(str(tmp_path / "m"))
    assert known
    result = fetch(thing.request(tmp_path / "m", str(tmp_path / "copy")))
    assert (result.bytes_reused, result.bytes_fetched) == (known[0], SIZE - known[0])


def test_only_the_rotten_piece_is_fetched_again(thing: Thing, killed: Path, tmp_path: Path) -> None:
    with thing.villain() as server:
        plant(killed, tmp_path / "m", server.url("honest"))
        known = partial_progress(str(tmp_path / "m"))
        assert known
        flip_byte(tmp_path / "m.part", 1)
        result = fetch(thing.request(tmp_path / "m", server.url("honest")))
        rotten = known[0] - result.bytes_reused
        # Nothing, where the kill came before that byte was confirmed: then it is fetched anyway.
        assert 0 <= rotten <= 2 * 1024 * 1024
        # A connection that was given up may have been sent a little that nobody read.
        assert 0 <= server.sent() - (SIZE - known[0] + rotten) <= 1024 * 1024
    assert hashlib.sha256((tmp_path / "m").read_bytes()).hexdigest() == thing.sha256


def test_a_right_partial_survives_a_wrong_source(
    thing: Thing, killed: Path, tmp_path: Path
) -> None:
    """What an earlier source delivered is not given up because a later one is wrong."""
    path = tmp_path / "m"
    with thing.villain() as server:
        plant(killed, path, server.url("honest"))
        known = partial_progress(str(path))
        assert known
        with pytest.raises(DreamError, match="a different sha256"):
            fetch(thing.request(path, server.url("other_content")))
        assert partial_progress(str(path)) == known
        before = server.sent()
        with pytest.raises(DreamError, match="was wrong before"):
            fetch(thing.request(path, server.url("other_content")))
        assert server.sent() - before <= SIZE - known[0]
        result = fetch(thing.request(path, server.url("honest")))
        assert result.bytes_reused == known[0]


def test_a_refuted_source_gives_its_space_back(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        with pytest.raises(DreamError, match="a different sha256"):
            fetch(thing.request(tmp_path / "m", server.url("other_content")))
        assert sum(entry.stat().st_blocks for entry in tmp_path.iterdir()) * 512 <= 8192


def test_a_foreign_partial_is_moved_and_taken_back(
    thing: Thing, killed: Path, tmp_path: Path
) -> None:
    newer = make_thing(SIZE, seed=20)
    plant(killed, tmp_path / "m", "http://elsewhere.invalid/m")
    known = partial_progress(str(tmp_path / "m"))
    (tmp_path / "newer").write_bytes(newer.content)
    (tmp_path / "older").write_bytes(thing.content)
    result = fetch(newer.request(tmp_path / "m", str(tmp_path / "newer")))
    assert "moved to" in result.notes[0]
    left = find_partials(str(tmp_path))
    assert [(one.sha256, one.done_bytes) for one in left] == [(thing.sha256, known and known[0])]
    back = fetch(thing.request(tmp_path / "m", str(tmp_path / "older")))
    assert known
    assert back.bytes_reused == known[0]
    assert find_partials(str(tmp_path)) == []


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"\xff\xfe garbage", b'{"schema": 99}\n', b"[1]\n[2]\n"]
)
def test_a_ruined_journal_loses_no_byte(
    damage: bytes, thing: Thing, killed: Path, tmp_path: Path
) -> None:
    """Bytes without a journal are kept on trial; the digest of the whole decides."""
    content = thing.content[: SIZE // 2]
    (tmp_path / "m.part").write_bytes(content)
    (tmp_path / "m.part.json").write_bytes(damage)
    with thing.villain() as server:
        result = fetch(thing.request(tmp_path / "m", server.url("honest")))
        assert result.bytes_fetched == SIZE - len(content)
        assert (tmp_path / "m").read_bytes() == thing.content


def test_wrong_bytes_on_trial_are_mended(thing: Thing, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(thing.other[: SIZE // 2])
    with thing.villain() as server:
        fetch(thing.request(tmp_path / "m", server.url("honest")))
        assert (tmp_path / "m").read_bytes() == thing.content


def test_a_torn_last_line(thing: Thing, killed: Path, tmp_path: Path) -> None:
    plant(killed, tmp_path / "m", "x")
    before = partial_progress(str(tmp_path / "m"))
    with (tmp_path / "m.part.json").open("a") as stream:
        stream.write('["p", 5242880, "0123')
    assert partial_progress(str(tmp_path / "m")) == before


def test_a_disk_that_is_too_small_is_seen_first(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        request = thing.request(tmp_path / "m", server.url("honest"), reserve_bytes=1 << 60)
        with pytest.raises(DiskError, match="more are needed") as caught:
            fetch(request)
        assert caught.value.code == "DISK_FULL"
        assert server.log == []
        assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_partial_is_not_followed(thing: Thing, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "m.part").symlink_to(tmp_path / "precious")
    with thing.villain() as server, pytest.raises(DreamError):
        fetch(thing.request(tmp_path / "m", server.url("honest")))
    assert (tmp_path / "precious").read_text() == "mine"


def test_the_old_file_stays_until_the_new_one_is_right(thing: Thing, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("old")
    with thing.villain() as server:
        with pytest.raises(DreamError):
            fetch(thing.request(tmp_path / "m", server.url("other_content")))
        assert (tmp_path / "m").read_text() == "old"
        fetch(thing.request(tmp_path / "m", server.url("honest"), mode=0o640))
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640


def test_progress_is_rare_and_never_beyond_the_end(thing: Thing, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with thing.villain(rate=6_000_000) as server:
        fetch(thing.request(tmp_path / "m", server.url("paced"), connections=1), seen.append)
    assert 2 <= len(seen) <= 8
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert seen[-1].done == seen[-1].total == SIZE


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"sha256": "abc"}, "BAD_DIGEST"),
        ({"path": "relative"}, "BAD_PATH"),
        ({"size_bytes": -1}, "BAD_NUMBER"),
        ({"sources": ()}, "NO_SOURCE"),
        ({"sources": ("ftp://host/m",)}, "BAD_URL"),
        ({"sources": ("http://host:port/m",)}, "BAD_URL"),
        ({"sources": ("http://host/a\tb",)}, "BAD_URL"),
        ({"sources": ("http://[bad/m",)}, "BAD_URL"),
        ({"sources": ("http://a..b/m",)}, "BAD_URL"),
        ({"sources": ("http://host:0/m",)}, "BAD_URL"),
        ({"sources": ("http://host:99999/m",)}, "BAD_URL"),
        ({"sources": ("http://host:\u0663/m",)}, "BAD_URL"),
        ({"sources": ("http:///m",)}, "BAD_URL"),
        ({"sources": ("http://%68ost/m",)}, "BAD_URL"),
    ],
)
def test_bad_requests(words: dict[str, Any], code: str, tmp_path: Path) -> None:
    good = {"path": str(tmp_path / "m"), "sha256": "0" * 64, "sources": ("/m",)}
    with pytest.raises(UsageError) as caught:
        fetch(FetchRequest(**{**good, **words}))
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def authorizations(server: Villain) -> list[tuple[str, str]]:
    return [(entry.trick, entry.headers.get("Authorization", "")) for entry in server.log]


def test_credentials_stay_with_their_origin(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        url = server.url("redirect_away").replace("://", "://user:secret@")
        result = fetch(thing.request(tmp_path / "m", url))
        first, second = authorizations(server)[:2]
        assert first[1].startswith("Basic ")
        assert second == ("honest", "")
        assert "secret" not in str(result)


def test_netrc(thing: Thing, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hush\n")
    (tmp_path / "netrc").chmod(0o600)
    with thing.villain() as server:
        network = Network(netrc=str(tmp_path / "netrc"))
        request = thing.request(tmp_path / "m", server.url("needs_login"), network=network)
        assert fetch(request).changed


def test_a_bad_netrc_shows_no_password(thing: Thing, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me pasword hush\n")
    network = Network(netrc=str(tmp_path / "netrc"))
    with pytest.raises(UsageError) as caught:
        fetch(thing.request(tmp_path / "m", "http://127.0.0.1:1/m", network=network))
    assert "hush" not in str(caught.value.to_dict())


def test_token_and_endpoint(thing: Thing, tmp_path: Path) -> None:
    """A hub's URL goes to the endpoint, with the token; other URLs see neither."""
    with thing.villain() as server:
        base = server.url("needs_login").rpartition("/")[0]
        network = Network(token="hf_sesame", endpoint=base)
        hub = "https://hub.invalid/owner/repository/resolve/main/model.gguf"
        result = fetch(thing.request(tmp_path / "m", hub, network=network))
        assert set(authorizations(server)) == {("needs_login", "Bearer hf_sesame")}
        assert "sesame" not in f"{result} {network!r}"
        fetch(thing.request(tmp_path / "n", server.url("honest"), network=network))
        assert authorizations(server)[-1] == ("honest", "")


def test_nothing_secret_in_an_error(thing: Thing, tmp_path: Path) -> None:
    with thing.villain() as server:
        url = server.url("missing", query="signature=hush").replace("://", "://me:hush@")
        with pytest.raises(DreamError) as caught:
            fetch(thing.request(tmp_path / "m", url))
        assert "hush" not in str(caught.value.to_dict())


def test_proxy(thing: Thing, tmp_path: Path) -> None:
    """An http proxy is asked for the whole URL, with its own credentials."""
    with thing.villain() as server:
        proxy = server.url("x").split("/x/")[0].replace("://", "://me:hush@")
        network = Network(proxies={"http": proxy})
        url = server.url("honest").replace("127.0.0.1", "model.invalid")
        request = thing.request(tmp_path / "m", url, network=network)
        assert fetch(request).changed
        headers = server.log[0].headers
        assert headers["Host"].startswith("model.invalid:")
        assert headers["Proxy-Authorization"].startswith("Basic ")
        direct = Network(proxies={"http": "http://127.0.0.1:1"}, no_proxy="localhost,127.0.0.0/8")
        request = thing.request(tmp_path / "n", server.url("honest"), network=direct)
        assert fetch(request).changed


def test_https_through_a_proxy(thing: Thing, tmp_path: Path, certificate: Path) -> None:
    """The proxy sees a CONNECT with its credentials, and nothing of what is inside."""
    with thing.villain(certificate=certificate) as server, Tunnel() as tunnel:
        network = Network(
            proxies={"https": f"http://me:hush@127.0.0.1:{tunnel.port}"}, ca_file=str(certificate)
        )
        request = thing.request(tmp_path / "m", server.url("honest"), network=network)
        assert fetch(request).changed
    assert tunnel.head.startswith(b"CONNECT 127.0.0.1:")
    assert b"Proxy-Authorization: Basic " in tunnel.head
    assert "Proxy-Authorization" not in server.log[0].headers


def test_network_from_environment() -> None:
    network = Network.from_environment(
        {
            "HTTPS_PROXY": "http://upper",
            "https_proxy": "http://lower",
            "HTTP_PROXY": "http://cgi",
            "REQUEST_METHOD": "GET",
            "NO_PROXY": "a,b",
            "HF_TOKEN": "t",
            "HF_ENDPOINT": "https://mirror",
            "SSL_CERT_FILE": "/ca",
            "HOME": "/home/me",
        }
    )
    assert network.proxies == {"https": "http://lower"}
    assert (network.no_proxy, network.token, network.endpoint) == ("a,b", "t", "https://mirror")
    assert (network.ca_file, network.netrc) == ("/ca", "/home/me/.netrc")
