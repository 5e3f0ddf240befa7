"""The terminal of scripts/make_recording.py, and the recording that README shows."""

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dream_runner import paths

ROOT = paths.PACKAGE.parent
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "make_recording.py"), run_name="recording")


def seen(*written: str) -> list[str]:
    screen = SCRIPT["Screen"]()
    for text in written:
        screen.feed(text)
    return ["".join(letter for letter, _ in line) for line in screen.picture()]


def test_a_line_that_moves_is_drawn_over() -> None:
    assert seen("one\r\n", "spin\r\x1b[2Kspun") == ["one", "spun"]
    assert seen("a\r\nb\r\n\x1b[1A\x1b[2Kc\r\n\x1b[?25h") == ["a", "c", ""]


def test_a_long_line_goes_on_below_and_the_last_rows_are_seen() -> None:
    width, height = SCRIPT["COLUMNS"], SCRIPT["ROWS"]
    assert seen("x" * (width + 3)) == ["x" * width, "xxx"]
    assert seen("\r\n".join(map(str, range(50)))) == [str(n) for n in range(50 - height, 50)]


def test_a_program_on_a_terminal(tmp_path: Path) -> None:
    recording = SCRIPT["Recording"]()
    code = "import sys; print(sys.stdout.isatty()); print('\\x1b[32mwell\\x1b[0m <&>')"
    recording.run([sys.executable, "-c", code], {"HOME": str(tmp_path)}, str(tmp_path))
    page = SCRIPT["svg"](recording)
    words = ["".join(item.itertext()) for item in ElementTree.fromstring(page).iter()]
    assert {"True", "well <&>"} <= set(words)
    with pytest.raises(SystemExit, match="ended with 3"):
        recording.run([sys.executable, "-c", "exit(3)"], {"HOME": "/x"}, str(tmp_path))


def test_the_recording_is_small_whole_and_of_no_ones_machine() -> None:
    text = SCRIPT["PAGE"].read_text()
    assert len(text.encode()) < SCRIPT["_LARGEST_BYTES"]
    shown = ["".join(item.itertext()) for item in ElementTree.fromstring(text).iter()]
    assert any("nothing differs from what was made" in line for line in shown)
    assert any(line.startswith("ready: the model has just answered") for line in shown)
    # Fetches nothing, names no directory of who made it.
    hosts = set(re.findall(r"https?://([^/:\"]+)", text))
    assert hosts == {"www.w3.org", "127.0.0.1"}
    assert "/tmp/" not in text
    assert "<script" not in text
    assert "docs/recording.svg" in (ROOT / "README.md").read_text()
