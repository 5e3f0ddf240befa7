"""Whatever a path leads to, reading it ends soon, and text is text on every system."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.files import text_file
from dream_runner.module_utils.dream_core.files.text_file import Unreadable

TEXT = "tier: T1\nname: Grüße 日本\n"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


#: Each would block, never end, or fill the memory, were it read.
ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (fifo, "it is a pipe"),
    "sparse": (sparse, "the file is larger than 1 MB"),
    "socket": (listening, ""),
    "directory": (Path.mkdir, "it is a directory"),
    "zero": (link_to("/dev/zero"), "it is a device"),
    "random": (link_to("/dev/urandom"), "it is a device"),
    "terminal": (link_to("/dev/ptmx"), "it is a device"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "missing": (lambda path: None, "No such file or directory"),
    # No size is told of it, and it goes on after the first page.
    "proc": (link_to("/proc/kallsyms"), "the file is larger than 1 MB"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ODD)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    make, reason = ODD[name]
    path = tmp_path / "odd"
    make(path)
    with pytest.raises(Unreadable) as caught:
        text_file.read(path)
    assert reason in caught.value.reason


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 101)
    with pytest.raises(Unreadable):
        text_file.read(path, limit=100)
    assert text_file.read(path, limit=101) == "x" * 101


LATIN = "tier: T1\nname: Grüße\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("mark", "encoding", "text"),
    [
        (b"", "utf-8", TEXT),
        (b"\xef\xbb\xbf", "utf-8", TEXT),
        (b"\xff\xfe", "utf-16-le", TEXT),
        (b"\xfe\xff", "utf-16-be", TEXT),
        (b"\xff\xfe\0\0", "utf-32-le", TEXT),
        (b"\0\0\xfe\xff", "utf-32-be", TEXT),
        (b"", "utf-16-le", LATIN),
        (b"", "utf-16-be", LATIN),
    ],
)
def test_editors_of_other_systems_write_the_same_text(
    mark: bytes, encoding: str, text: str, end: str
) -> None:
    written = text.replace("\n", end)
    assert text_file.decode(mark + written.encode(encoding)) == written


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"ok\nGr\xfc\xdfe s3cret", b"\xef\xbb\xbf\xff"]
)
def test_what_is_no_text_is_told_by_its_line_only(content: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        text_file.decode(content)
    assert "not valid UTF-8" in caught.value.reason
    assert "s3cret" not in caught.value.reason
    assert caught.value.__cause__ is None


def test_bytes_that_are_no_text_can_be_kept() -> None:
    content = b"\xef\xbb\xbfA=\xff\r\n"
    assert (
        text_file.decode(content, "surrogateescape").encode("utf-8", "surrogateescape")
        == b"A=\xff\r\n"
    )
