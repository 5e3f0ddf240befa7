"""Where a file may go: what cannot work is refused before a byte, and nothing is replaced."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.devices import make_device
from fixtures.fetching import ROOT, Thing, make_thing
from fixtures.rawserver import RawServer

from dream_runner.commands import fetch as command
from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.fetch.disk import names, target
from dream_runner.module_utils.dream_core.fetch.disk.partial import find_partials, partial_progress
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch, remove
from dream_runner.module_utils.dream_core.system import atomic

THING: Thing = make_thing(300_000, seed=4)


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer(THING.content, {}) as running:
        yield running


def refused(path: Path | str, server: RawServer) -> DreamError:
    """Return the error of a fetch to ``path``, having asked nobody."""
    with pytest.raises(DreamError) as caught:
        fetch(THING.request(Path(path), server.url("/ok")))
    assert server.asked == []
    return caught.value


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _link(path: Path) -> None:
    (path.parent / "precious").write_text("mine")
    path.symlink_to(path.parent / "precious")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


@pytest.mark.parametrize("make", [_directory, _pipe, _socket, make_device, _link, _link_to_nothing])
def test_what_is_no_regular_file_is_left_alone(
    make: object, server: RawServer, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    make(path)  # type: ignore[operator]
    before = path.lstat()
    error = refused(path, server)
    assert (error.code, error.exit_code) == ("NOT_A_FILE", 6)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (
        before.st_ino,
        before.st_mode,
        before.st_rdev,
    )
    assert not list(tmp_path.glob("m.part*"))


def test_dev_null_stays_a_device(server: RawServer) -> None:
    error = refused("/dev/null", server)
    assert error.code == "NOT_A_FILE"
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not os.path.exists("/dev/null.part")


@pytest.mark.parametrize("name", ["m.part", "m.part.json"])
def test_what_is_no_file_in_the_place_of_a_partial(
    name: str, server: RawServer, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    assert refused(tmp_path / "m", server).code == "NOT_A_FILE"


def test_a_link_to_the_right_file_is_present(server: RawServer, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(THING.content)
    (tmp_path / "m").symlink_to("real")
    assert not fetch(THING.request(tmp_path / "m", server.url("/ok"))).changed
    assert (tmp_path / "m").is_symlink()


def test_a_file_where_a_directory_belongs(server: RawServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "m", tmp_path / "file" / "deeper" / "m"):
        assert refused(path, server).code == "NOT_A_DIRECTORY"


@pytest.mark.parametrize("length", [200, 207, 208, 250, 255])
def test_a_long_name_works(length: int, server: RawServer, tmp_path: Path) -> None:
    path = tmp_path / ("\u00e8" * (length // 2) + "n" * (length % 2))
    assert len(os.fsencode(path.name)) == length
    assert fetch(THING.request(path, server.url("/ok"))).changed
    assert fetch(THING.request(path, server.url("/ok"))).verified_by == "stamp"
    assert path.read_bytes() == THING.content
    assert len(list(tmp_path.iterdir())) == 2
    remove(str(path))
    assert list(tmp_path.iterdir()) == []


def test_two_long_names_with_one_beginning_share_nothing(tmp_path: Path) -> None:
    first, second = (names.stem(str(tmp_path / ("n" * 240 + end))) for end in "ab")
    assert first != second
    assert names.stem(first) == first


def test_a_long_name_keeps_its_partial(server: RawServer, tmp_path: Path) -> None:
    """The partial of a long name is found again, shown, and set aside as any other."""
    path = tmp_path / ("n" * 250)
    Path(names.stem(str(path)) + names.PART).write_bytes(THING.content[:100_000])
    assert partial_progress(str(path)) is None
    assert [one.used_bytes > 0 for one in find_partials(str(tmp_path))] == [True]
    result = fetch(THING.request(path, server.url("/ok")))
    assert result.bytes_fetched == len(THING.content) - 100_000


def test_a_name_that_is_too_long_is_named(server: RawServer, tmp_path: Path) -> None:
    error = refused(tmp_path / ("n" * 256), server)
    assert (error.code, error.exit_code) == ("BAD_NAME", 2)
    assert "255" in error.what
    # A file system that allows less: encrypted homes.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pathconf", lambda *_: 143)
        assert refused(tmp_path / ("n" * 144), server).code == "BAD_NAME"
        assert fetch(THING.request(tmp_path / ("n" * 140), server.url("/ok"))).changed
        assert all(len(name) <= 143 for name in os.listdir(tmp_path))


def test_a_path_that_is_too_long(server: RawServer, tmp_path: Path) -> None:
    assert refused(str(tmp_path) + "/dir" * 1100 + "/m", server).code == "BAD_NAME"


@pytest.mark.parametrize("path", ["/tmp/a\0b", "/tmp/\ud800"])
def test_a_path_that_no_file_can_have(path: str) -> None:
    with pytest.raises(DreamError) as caught:
        fetch(THING.request(Path(path), "/m"))
    assert caught.value.code == "BAD_PATH"


def test_a_protected_file_is_refused_first(
    server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Immutable, mounted over, or another user's in a directory with the sticky bit."""
    path = tmp_path / "m"
    path.write_text("old")
    with monkeypatch.context() as patch:
        immutable = struct.pack("q", 0x10)
        patch.setattr(target.fcntl, "ioctl", lambda *_: immutable)
        assert "immutable" in str(refused(path, server))
    with monkeypatch.context() as patch:
        patch.setattr(target.filesystems, "mount_points", lambda: [str(path)])
        assert "mount point" in str(refused(path, server))
    tmp_path.chmod(0o1777)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 54321)
        assert refused(path, server).code == "NOT_PERMITTED"


def test_an_immutable_file_is_known(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("old")
    chattr = ["chattr", "+i", str(path)]
    try:
        done = subprocess.run(chattr, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("chattr is not here")
    if done.returncode:
        pytest.skip("this file system has no such flag")
    try:
        with pytest.raises(DreamError, match="immutable"):
            target.require_usable(str(path))
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def test_a_mounted_file_is_known(tmp_path: Path) -> None:
    path = tmp_path / "m m"
    path.write_text("old")
    mount = ["mount", "--bind", str(path), str(path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a mount needs root")
    try:
        with pytest.raises(DreamError, match="mount point"):
            target.require_usable(str(path))
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_partial_with_a_second_name_is_not_written_through(
    server: RawServer, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_bytes(b"mine" * 100)
    os.link(tmp_path / "precious", tmp_path / "m.part")
    result = fetch(THING.request(tmp_path / "m", server.url("/ok")))
    assert (tmp_path / "m").read_bytes() == THING.content
    assert (tmp_path / "precious").read_bytes() == b"mine" * 100
    assert "second hard link" in result.notes[0]


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket"])
def test_a_local_source_that_is_no_file_costs_itself_only(
    kind: str, server: RawServer, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    {"pipe": _pipe, "directory": _directory, "socket": _socket}[kind](source)
    sources = (str(source), f"file://{source}", server.url("/ok"))
    assert fetch(THING.request(tmp_path / "m", *sources)).source == server.url("/ok")


def test_a_source_whose_name_is_not_utf8(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/s\xe8"
    with open(raw, "wb") as stream:
        stream.write(THING.content)
    for number, source in enumerate((os.fsdecode(raw), f"file://{tmp_path}/s%E8")):
        path = tmp_path / str(number) / "m"
        assert fetch(THING.request(path, source)).changed


# --- the command


def run(output: str, server: RawServer, cwd: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["fetch", server.url("/ok"), "--sha256", THING.sha256, "-o", output, *more]
    program = "import sys; from dream_runner.cli.app import main; sys.exit(main())"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
    )


def test_a_name_that_is_not_utf8_is_fetched_and_told(server: RawServer, tmp_path: Path) -> None:
    output = os.fsdecode(b"m\xe8le")
    for changed in (True, False):
        done = run(output, server, tmp_path, "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["changed"] == changed
    assert (tmp_path / output).read_bytes() == THING.content
    done = run(output, server, tmp_path, "--ui", "plain")
    assert (done.returncode, "unchanged since it was verified" in done.stdout) == (0, True), (
        done.stderr
    )
    # The name of a directory that is not UTF-8, in an error.
    os.mkdir(os.fsencode(tmp_path) + b"/d\xe8")
    done = run(os.fsdecode(b"d\xe8"), server, tmp_path)
    assert (done.returncode, "NOT_A_FILE" in done.stderr) == (6, True), done.stderr


@pytest.mark.parametrize("output", [".", "", "new/", "~nosuchuser/m"])
def test_an_output_that_names_no_file(
    output: str, server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DreamError) as caught:
        command.run([server.url("/ok")], sha256=THING.sha256, output=output, environment={})
    assert caught.value.code == ("BAD_PATH" if "~" in output else "NOT_A_FILE")
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


# --- errno by meaning


@pytest.mark.parametrize(
    ("number", "code", "exit_code"),
    [
        (errno.EACCES, "NOT_PERMITTED", 4),
        (errno.ENOSPC, "DISK_FULL", 6),
        (errno.EDQUOT, "DISK_FULL", 6),
        (errno.EROFS, "READ_ONLY", 6),
        (errno.ENAMETOOLONG, "BAD_NAME", 2),
        (errno.EILSEQ, "BAD_NAME", 2),
        (errno.EISDIR, "NOT_A_FILE", 6),
        (errno.ELOOP, "NOT_A_FILE", 6),
        (errno.ENOTDIR, "NOT_A_DIRECTORY", 6),
        (errno.ENOENT, "PATH_GONE", 6),
        (errno.EFBIG, "FILESYSTEM_LIMIT", 6),
        (errno.EINVAL, "FILESYSTEM_LIMIT", 6),
        (errno.ETXTBSY, "IN_USE", 6),
        (errno.EMFILE, "TOO_MANY_FILES", 6),
        (errno.ESTALE, "MOUNT_LOST", 6),
        (errno.EIO, "DISK_ERROR", 6),
    ],
)
def test_an_error_of_the_disk_by_its_meaning(number: int, code: str, exit_code: int) -> None:
    error = atomic.translate(OSError(number, os.strerror(number)), "/x")
    assert (error.code, error.exit_code) == (code, exit_code)
    assert ("dmesg" in error.hint) == (code == "DISK_ERROR")
