"""A command that writes a file looks at its target before it does any work."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dream_runner.commands import facts, init, lock, report
from dream_runner.machine import output_file
from dream_runner.module_utils.dream_core.errors import DiskError, DreamError
from dream_runner.module_utils.dream_core.system import atomic


def directory(folder: Path) -> str:
    (folder / "d").mkdir()
    return str(folder / "d")


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "p")
    return str(folder / "p")


def link(folder: Path) -> str:
    (folder / "l").symlink_to("/dev/null")
    return str(folder / "l")


def unix_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
    return str(folder / "s")


def below_a_file(folder: Path) -> str:
    (folder / "f").write_text("x")
    return str(folder / "f" / "x")


#: How each target is made, and the code of the error.
TARGETS: dict[str, tuple[Callable[[Path], str], str]] = {
    "a directory": (directory, "NOT_A_FILE"),
    "a directory with a slash": (lambda folder: directory(folder) + "/", "NOT_A_FILE"),
    "a pipe": (pipe, "NOT_A_FILE"),
    "a link to a device": (link, "NOT_A_FILE"),
    "a device": (lambda _: "/dev/null", "NOT_A_FILE"),
    "a socket": (unix_socket, "NOT_A_FILE"),
    "too long a name": (lambda folder: str(folder / ("x" * 300)), "BAD_NAME"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_cannot_be_a_file_is_refused_first(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, code = TARGETS[name]
    path = make(tmp_path)
    monkeypatch.setattr(facts, "gather", lambda: pytest.fail("the work has begun"))
    monkeypatch.setattr(lock.image_lock, "ask", lambda *_: pytest.fail("the work has begun"))
    works: list[Callable[[], object]] = [
        lambda: output_file.require(path),
        lambda: facts.write_capture(path),
        lambda: init.run(path, force=True),
        lambda: lock.run(output=path),
    ]
    for work in works:
        with pytest.raises(DreamError) as caught:
            work()
        assert caught.value.code == code
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("make", [below_a_file, lambda folder: str(folder / "none" / "x")])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, make: Callable[[Path], str]) -> None:
    with pytest.raises(DreamError) as caught:
        output_file.require(make(tmp_path))
    assert caught.value.code != "UNEXPECTED"
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_closed_to_this_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DreamError) as caught:
        output_file.require(str(tmp_path / "x"))
    assert caught.value.code == "NOT_PERMITTED"


def test_files_and_new_names_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert output_file.require("old") == str(tmp_path / "old")
    assert output_file.require("new ü") == str(tmp_path / "new ü")
    assert init.run(str(tmp_path / "answers.yml"), force=False) == str(tmp_path / "answers.yml")


def test_a_report_looks_at_its_target_before_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "20260101T000000-0"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text("")
    monkeypatch.setattr(report.read, "read", lambda _: pytest.fail("the work has begun"))
    with pytest.raises(DreamError) as caught:
        report.run(str(tmp_path), "", directory(tmp_path))
    assert caught.value.code == "NOT_A_FILE"


@pytest.mark.parametrize("make", [pipe, unix_socket])
def test_no_writer_puts_a_file_in_the_place_of_something_else(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    path = make(tmp_path)
    before = os.lstat(path)
    with pytest.raises(DiskError) as caught:
        atomic.write_bytes(path, b"x")
    assert caught.value.code == "NOT_A_FILE"
    assert os.path.samestat(before, os.lstat(path))
    assert sorted(os.listdir(tmp_path)) == [os.path.basename(path)]
