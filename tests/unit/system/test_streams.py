"""Output that does not arrive changes no result (FC2-08)."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fixtures import deaf

PROGRAM = [sys.executable, "-B", "-m", "dream_runner"]
#: Words of the command line, and the exit code that they have where somebody reads.
VERBS = [
    (["--help"], 0),
    (["no-such-verb"], 2),
    (["status"], 3),
    (["plan", "--json"], 0),
    (["install", "--ui", "json", "--engine-port", "x"], 2),
    (["facts"], 0),
    (["report"], None),
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DREAM_")}
    return {**kept, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.mark.parametrize(("words", "code"), VERBS, ids=[" ".join(words) for words, _ in VERBS])
def test_every_verb_ends_as_it_would(
    words: list[str], code: int | None, environment: dict[str, str]
) -> None:
    heard = subprocess.run(
        [*PROGRAM, *words], env=environment, capture_output=True, stdin=subprocess.DEVNULL
    )
    assert code in (None, heard.returncode), heard
    codes = {kind: deaf.run(kind, [*PROGRAM, *words], environment) for kind in deaf.KINDS}
    assert codes == dict.fromkeys(deaf.KINDS, heard.returncode)


#: Writes in every way that a library may, then ends with a code of its own.
WRITER = """
import sys
from dream_runner.module_utils.dream_core.system import streams
streams.keep()
print("text", flush=True)
sys.stdout.write("held back until the end")
sys.stdout.buffer.write(b"bytes")
print("error", file=sys.stderr)
open({path!r}, "w").write("a file of its own")
sys.exit(7)
"""


@pytest.mark.parametrize("kind", deaf.KINDS)
def test_no_way_of_writing_fails(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = WRITER.format(path=str(path))
    assert deaf.run(kind, [sys.executable, "-c", code], os.environ) == 7
    # A closed descriptor's number goes to the next file: nothing of ours may land there.
    assert path.read_text() == "a file of its own"


def test_what_can_be_delivered_arrives_whole() -> None:
    """A pipe that does not block is waited for."""
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    code = (
        "from dream_runner.module_utils.dream_core.system import streams; streams.keep();"
        "print('x' * 1_000_000)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        timer = threading.Timer(30, child.kill)
        timer.start()
        found = stream.read()
        timer.cancel()
    assert (child.wait(), len(found)) == (0, 1_000_001)


def test_a_letter_that_the_terminal_does_not_know_is_replaced() -> None:
    code = (
        "from dream_runner.module_utils.dream_core.system import streams; streams.keep();"
        "print('gr\\u00fcn')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"gr?n\n")
