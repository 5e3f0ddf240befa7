"""The journal is durable at phase borders and never the reason for a failure."""

import gc
import json
import os
import shutil
from pathlib import Path

import pytest

from dream_runner.run.events import Notice, PhaseStarted, Progress
from dream_runner.run.journal import Journal


def test_lines_are_events_and_private(tmp_path: Path) -> None:
    with Journal(tmp_path / "run") as journal:
        journal.take(PhaseStarted(1.0, "localhost", "models"))
        journal.take(Progress(1.0, "localhost", "models", "m.gguf", 1, 2, 3.0))
        journal.take(Notice(1.0, "localhost", "warning", "careful"))
    path = tmp_path / "run" / "events.jsonl"
    kinds = [json.loads(line)["type"] for line in path.read_text().splitlines()]
    assert kinds == ["phase_started", "progress", "notice"]
    assert path.stat().st_mode & 0o077 == 0


def test_of_progress_only_bytes_are_kept(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.take(Progress(1.0, "h", "services", "packages", 0, 0, 0.0, "index https://u:p@h"))
        journal.take(Progress(1.0, "h", "models", "there.gguf", 1, 2, 0.0, "checking the sha256"))
        journal.take(
            Progress(1.0, "h", "models", "m.gguf", 1, 2, 3.0, "https://u:p@h answered 503")
        )
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["what"] == "m.gguf"
    assert "u:p" not in line


def test_a_day_of_progress_takes_a_few_hundred_lines(tmp_path: Path) -> None:
    size = 10 * 86400
    with Journal(tmp_path) as journal:
        for number in range(size + 1):
            journal.take(Progress(number / 10, "h", "models", "m.gguf", number, size, 1.0))
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    points = [json.loads(line)["done"] for line in lines]
    assert points[0] == 0
    assert points[-1] == size
    assert 100 < len(points) < 700


def test_phase_borders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with Journal(tmp_path) as journal:
        journal.take(Notice(1.0, "h", "info", "x"))
        assert synced == []
        journal.take(PhaseStarted(1.0, "h", "models"))
        assert len(synced) == 1


@pytest.mark.parametrize("obstacle", ["file in the way", "full disk"])
def test_no_journal_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    run_dir = tmp_path / "run"
    if obstacle == "full disk":

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    else:
        run_dir.write_text("")
    with Journal(run_dir) as journal:
        journal.take(PhaseStarted(1.0, "h", "models"))
        journal.take(PhaseStarted(1.0, "h", "services"))
    assert "journal of this run could not be written" in journal.warning


@pytest.mark.parametrize("moment", ["write", "close"])
def test_a_disk_that_fills_up_ends_the_journal_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Nothing is raised, now or by the collector, and the reason is told once."""
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: real("/dev/full", os.O_WRONLY))
    journal = Journal(tmp_path / "run")
    monkeypatch.setattr(os, "open", real)
    with journal:
        if moment == "write":
            journal.take(PhaseStarted(1.0, "localhost", "models"))
            journal.take(PhaseStarted(2.0, "localhost", "services"))
        else:
            journal._stream.write("what is left for the end")  # type: ignore[union-attr]
    assert "No space left" in journal.warning
    del journal
    gc.collect()


def test_a_folder_that_vanishes_ends_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "run") as journal:
        shutil.rmtree(tmp_path / "run")
        journal.take(PhaseStarted(1.0, "localhost", "models"))
    assert journal.warning == ""
