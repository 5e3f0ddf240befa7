"""Write docs/recording.svg: a real install and what follows it, as a terminal shows them.

    python scripts/make_recording.py

Runs the program of this checkout on a pseudo-terminal, in a HOME of its own in a temporary
directory, and removes what it installed. Each picture of the terminal is a group of the SVG
that is visible for as long as it stood, by CSS alone: no script, nothing from a network.
A time in which nothing changes is shortened.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "recording.svg"
COLUMNS, ROWS = 84, 28
#: What is shown is one picture in so many seconds at most, and a still one no longer than that.
_STEP_SECONDS = 0.4
_STILL_SECONDS = 1.2
_LAST_SECONDS = 6.0
_LARGEST_BYTES = 200_000

_COLOURS = {
    31: "#f47067",
    32: "#57ab5a",
    33: "#c69026",
    35: "#b083f0",
    36: "#39c5cf",
    90: "#768390",
}
_SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>]|\x1b\][^\x07]*\x07")

Cell = tuple[str, str]
Picture = tuple[tuple[Cell, ...], ...]


@dataclass
class Screen:
    """As much of a terminal as a line of progress needs: text, colours, cursor up, erase."""

    rows: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    style: str = ""

    def feed(self, text: str) -> None:
        """Take what a program wrote."""
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                self._control(found[1] or "", found[2] or "")
                at = found.end()
                continue
            self._put(text[at])
            at += 1

    def _put(self, letter: str) -> None:
        if letter == "\n":
            self.row += 1
            while len(self.rows) <= self.row:
                self.rows.append([])
        elif letter == "\r":
            self.column = 0
        elif letter >= " ":
            if self.column >= COLUMNS:
                self.column = 0
                self._put("\n")
            line = self.rows[self.row]
            line += [(" ", "")] * (self.column + 1 - len(line))
            line[self.column] = (letter, self.style)
            self.column += 1

    def _control(self, numbers: str, kind: str) -> None:
        first = int(numbers) if numbers.isdigit() else 0
        if kind == "A":
            self.row = max(0, self.row - max(1, first))
        elif kind == "K":
            line = self.rows[self.row]
            del line[0 if first == 2 else self.column :]
        elif kind == "m":
            self._colour(numbers)

    def _colour(self, numbers: str) -> None:
        for number in (int(part or 0) for part in numbers.split(";")):
            if number == 0:
                self.style = ""
            elif number in _COLOURS:
                self.style = _COLOURS[number]
            elif number == 1 and not self.style:
                self.style = "#ffffff"

    def picture(self) -> Picture:
        """Return what is seen: the last rows."""
        return tuple(tuple(line) for line in self.rows[-ROWS:])


@dataclass
class Recording:
    """Pictures and how long each is shown."""

    screen: Screen = field(default_factory=Screen)
    shown: list[tuple[Picture, float]] = field(default_factory=list)
    seconds: float = 0.0

    def keep(self, seconds: float) -> None:
        """Keep the present picture; one that did not change is shown on."""
        picture = self.screen.picture()
        if self.shown and self.shown[-1][0] == picture:
            before = self.shown[-1][1]
            self.shown[-1] = (picture, min(_STILL_SECONDS, before + seconds))
        else:
            self.shown.append((picture, min(_STILL_SECONDS, seconds)))

    def type(self, words: str) -> None:
        """Show a command as it is typed."""
        self.screen.feed("\x1b[32m$\x1b[0m ")
        for word in words.split(" "):
            self.screen.feed(word + " ")
            self.keep(0.15)
        self.screen.feed("\r\n")
        self.keep(0.5)

    def run(self, argv: Sequence[str], environment: dict[str, str], directory: str) -> None:
        """Run a program on a terminal and keep what it shows. Raises where it fails."""
        began = time.monotonic()
        for text, seconds in output(argv, environment, directory):
            self.screen.feed(text.replace(environment["HOME"], "/home/me"))
            self.keep(seconds)
        self.seconds += time.monotonic() - began


def output(
    argv: Sequence[str], environment: dict[str, str], directory: str
) -> Iterator[tuple[str, float]]:
    """Yield what the program writes, gathered for a step each, and how long that took."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    child = subprocess.Popen(
        argv,
        env=environment,
        cwd=directory,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    is_open = True
    while is_open:
        began, text = time.monotonic(), ""
        while is_open and (left := began + _STEP_SECONDS - time.monotonic()) > 0:
            if select.select([master], [], [], left)[0]:
                try:
                    text += decoder.decode(os.read(master, 65536))
                except OSError:
                    # The last one who had the terminal open has gone.
                    is_open = False
        is_open = is_open and (child.poll() is None or bool(text))
        yield text, time.monotonic() - began
    os.close(master)
    if child.wait():
        raise SystemExit(f"{shlex.join(argv)} ended with {child.returncode}")


def svg(recording: Recording) -> str:
    """Return the pictures as one SVG; each row that several show is drawn once."""
    width, height = COLUMNS * 8.4 + 32, ROWS * 18 + 48
    spans = _spans([(tuple(picture), seconds) for picture, seconds in recording.shown])
    total = sum(seconds for _, seconds in recording.shown) + _LAST_SECONDS
    defined: dict[tuple[Cell, ...], str] = {}
    steps, shapes = [], []
    for number, (begin, end, index, line) in enumerate(spans):
        name = defined.setdefault(line, f"l{len(defined)}")
        shapes.append(f'<use href="#{name}" y="{index * 18}" class="f" id="s{number}"/>')
        last = 100 if end is None else 100 * end / total
        steps.append(_visible(number, 100 * begin / total, last, total))
    lines = "".join(f'<g id="{name}">{_row(line)}</g>' for line, name in defined.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="An install of dream-runner in a terminal">'
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#adbac7;"
        "white-space:pre}.f{visibility:hidden}"
        # Who wants no motion sees how it ends.
        f"@media (prefers-reduced-motion:reduce){{.f{{animation:none!important}}"
        f"{_at_the_end(spans)}{{visibility:visible}}}}"
        f"{''.join(steps)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#22272e"/>'
        '<circle cx="20" cy="18" r="6" fill="#f47067"/><circle cx="40" cy="18" r="6" '
        'fill="#c69026"/><circle cx="60" cy="18" r="6" fill="#57ab5a"/>'
        f'<defs>{lines}</defs><g transform="translate(16 48)">{"".join(shapes)}</g></svg>\n'
    )


Span = tuple[float, "float | None", int, tuple[Cell, ...]]


def _spans(shown: Sequence[tuple[Picture, float]]) -> list[Span]:
    """Return each row with the time that it stands: from, to (None: the end), where, what."""
    spans: list[Span] = []
    standing: dict[int, tuple[float, tuple[Cell, ...]]] = {}
    now = 0.0
    for picture, seconds in shown:
        for index in range(ROWS):
            line = picture[index] if index < len(picture) else ()
            began, before = standing.get(index, (now, ()))
            if line != before:
                if before:
                    spans.append((began, now, index, before))
                standing[index] = (now, line)
        now += seconds
    return spans + [(began, None, index, line) for index, (began, line) in standing.items() if line]


def _visible(number: int, begin: float, end: float, total: float) -> str:
    after = f"{end:.2f}%{{visibility:hidden}}" if end < 100 else ""
    start = "" if begin <= 0 else "0%{visibility:hidden}"
    return (
        f"@keyframes k{number}{{{start}{begin:.2f}%{{visibility:visible}}{after}}}"
        f"#s{number}{{animation:k{number} {total:.1f}s step-end infinite}}"
    )


def _at_the_end(spans: Sequence[Span]) -> str:
    return ",".join(f"#s{number}" for number, span in enumerate(spans) if span[1] is None)


def _row(line: Sequence[Cell]) -> str:
    """Return a row as one text, with a span for each colour."""
    parts, at = [], 0
    while at < len(line):
        style, end = line[at][1], at
        while end < len(line) and line[end][1] == style:
            end += 1
        text = escape("".join(letter for letter, _ in line[at:end]), quote=False)
        parts.append(f'<tspan fill="{style}">{text}</tspan>' if style else text)
        at = end
    return f'<text xml:space="preserve" textLength="{len(line) * 8.4:.1f}">{"".join(parts)}</text>'


def main() -> None:
    """Record, write, and remove what was installed."""
    with tempfile.TemporaryDirectory(prefix="dream-") as name:
        home = Path(name, "me")
        (home / "tmp").mkdir(parents=True)
        environment = {
            variable: value
            for variable, value in os.environ.items()
            if not variable.startswith(("DREAM_", "ANSIBLE_", "XDG_", "PYTHON"))
        }
        environment |= {
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            "LINES": str(ROWS),
            "LC_ALL": "C.UTF-8",
        }
        program = [sys.executable, "-m", "dream_runner"]
        recording = Recording()
        try:
            for words in (
                "dream-runner install --profile native --model smoke --yes",
                "dream-runner install --yes",
                "dream-runner status",
            ):
                recording.type(words)
                argv = [*program, *shlex.split(words)[1:]]
                recording.run(argv, environment, str(home))
                recording.keep(_STILL_SECONDS)
        finally:
            done = [*program, "uninstall", "--purge", "--yes", "--ui", "quiet"]
            subprocess.run(done, env=environment, cwd=home, check=False, capture_output=True)
        page = svg(recording)
    if len(page.encode()) > _LARGEST_BYTES:
        raise SystemExit(f"{len(page.encode())} bytes are too many for a README")
    PAGE.write_text(page)
    print(f"{PAGE}: {len(page.encode())} bytes of {recording.seconds:.0f} s")


if __name__ == "__main__":
    main()
