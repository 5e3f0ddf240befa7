"""The bounded way to look at a machine: whatever files and tools do, there is an answer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.facts import machine_reader as host_module
from dream_runner.module_utils.dream_core.facts.machine_reader import Host, run_tool


@pytest.fixture
def root(tmp_path):
    """A folder in the place of ``/``."""
    return tmp_path


def script(folder: Path, name: str, body: str) -> str:
    path = folder / "usr" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def test_a_missing_file_is_none(root):
    host = Host(str(root))
    assert host.read("/nowhere") is None
    assert host.names("/nowhere") is None
    assert host.link_name("/nowhere") is None
    assert host.node("/nowhere") is None
    assert not host.exists("/nowhere")


def test_a_fifo_in_the_place_of_a_file_does_not_stop_us(root):
    os.mkfifo(root / "fifo")
    assert Host(str(root)).read("/fifo") in (None, "")


def test_a_huge_file_is_cut(root):
    (root / "huge").write_bytes(b"x" * (1 << 20))
    assert len(Host(str(root)).read("/huge")) == 256 * 1024


def test_bytes_that_are_no_text_are_read(root):
    (root / "file").write_bytes(b"\xff\xfeok\n")
    assert Host(str(root)).read("/file").endswith("ok")


def test_tools_are_looked_for_in_fixed_places_only(root, monkeypatch):
    other = root / "home" / "bin"
    other.mkdir(parents=True)
    (other / "nvidia-smi").write_text("#!/bin/sh\necho lie\n")
    (other / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert Host(str(root)).tool("nvidia-smi", []) is None
    script(root, "nvidia-smi", "echo truth")
    assert Host(str(root)).tool("nvidia-smi", [])["stdout"] == "truth\n"


def test_a_file_that_cannot_be_run_is_no_tool(root):
    path = script(root, "nvidia-smi", "")
    os.chmod(path, 0o644)
    assert Host(str(root)).find_tool("nvidia-smi") is None


def test_a_tool_runs_in_the_c_locale_without_our_environment(root, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    path = script(root, "tool", 'echo "$LC_ALL|$SECRET|$PWD"')
    assert run_tool(path, [], 3)["stdout"] == "C||/\n"


def test_a_hanging_tool_ends_in_time_with_its_children(root):
    path = script(root, "tool", "echo begun; sleep 60 & sleep 60")
    begin = time.monotonic()
    answer = run_tool(path, [], 0.3)
    assert time.monotonic() - begin < 3
    assert answer["problem"] == "timeout"
    assert answer["rc"] is None
    assert answer["stdout"] == "begun\n"


def test_a_tool_that_closes_its_ends_and_lives_on_is_a_hang(root):
    path = script(root, "tool", "exec >&- 2>&-; sleep 60")
    assert run_tool(path, [], 0.3)["problem"] == "timeout"


def test_endless_output_is_cut_off(root):
    path = script(root, "tool", "yes")
    answer = run_tool(path, [], 10)
    assert answer["problem"] == "output too long"
    assert len(answer["stdout"]) <= host_module.TOOL_OUTPUT_LIMIT


def test_a_file_that_is_no_program_is_a_problem(root):
    path = root / "tool"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    assert "cannot be started" in run_tool(str(path), [], 1)["problem"]


def test_both_streams_and_the_exit_code_are_kept(root):
    answer = run_tool(script(root, "tool", "echo out; echo err >&2; exit 9"), [], 3)
    assert (answer["rc"], answer["stdout"], answer["stderr"]) == (9, "out\n", "err\n")
    assert answer["problem"] is None
