"""Whole installs on this machine, below a HOME of their own, by the program of this checkout."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from chaos.sandbox import free_port
from nodes import processes
from nodes.node import CHECKOUT, Result

from .watcher import Looker

_SCRUBBED = ("XDG_", "DREAM_", "PYTHON", "ANSIBLE_", "VIRTUAL_ENV")


class Here:
    """A HOME that installs of the native profile go into; ``environment`` is laid over ours."""

    def __init__(self, home: Path, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self.dream = home / "dream"
        self.state = home / "state" / "dream-runner"
        self.port = free_port()
        #: The program that runs; ``another_version`` makes one that differs.
        self.checkout = CHECKOUT
        self.more = environment or {}
        (home / "tmp").mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        kept = {n: value for n, value in os.environ.items() if not n.startswith(_SCRUBBED)}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.state.parent),
            "TMPDIR": str(self.home / "tmp"),
            "RUSTUP_HOME": "/nonexistent",
            **self.more,
        }

    def start(self, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        # Into files: a pipe's reader would wait for the daemon that inherits it.
        with (
            (self.home / "tmp" / "out").open("wb") as out,
            (self.home / "tmp" / "err").open("wb") as err,
        ):
            return subprocess.Popen(
                [*prefix, sys.executable, "-m", "dream_runner", *words],
                cwd=self.checkout,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def finish(self, process: subprocess.Popen[bytes], *words: str) -> Result:
        began = time.monotonic()
        process.wait(timeout=600)
        out, err = (
            (self.home / "tmp" / name).read_text(errors="replace") for name in ("out", "err")
        )
        return Result(" ".join(words), process.returncode, out, err, time.monotonic() - began)

    def run(self, *words: str, prefix: tuple[str, ...] = ()) -> Result:
        return self.finish(self.start(*words, prefix=prefix), *words)

    def install(self, *more: str, prefix: tuple[str, ...] = ()) -> Result:
        """Install; the first time with the place and port, later by what was saved."""
        words = ["install", "--yes", "--json", *more]
        if not (self.state / "settings.json").exists():
            words += ["--profile", "native", "--model", "smoke", "--install-dir", str(self.dream)]
            words += ["--engine-port", str(self.port)]
        return self.run(*words, prefix=prefix)

    def phases(self, result: Result) -> dict[str, str]:
        """Return phase and state of what a run did, from its journal."""
        journal = self.state / "runs" / result.json()["run_id"] / "events.jsonl"
        events = [json.loads(line) for line in journal.read_text().splitlines()]
        return {item["phase"]: item["state"] for item in events if item.get("state")}

    def end(self) -> None:
        """End every process of this HOME, by id."""
        processes.kill_all(self.home)


def another_version(target: Path) -> Path:
    """Copy the working tree (tracked and new files) to ``target``, to be changed there."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True).stdout
    for name in filter(None, map(os.fsdecode, listed.split(b"\0"))):
        if (CHECKOUT / name).exists() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target / name)
    return target


@contextlib.contextmanager
def here(home: Path, **more: Any) -> Iterator[Here]:
    """A ``Here`` of which no process is left afterwards."""
    place = Here(home, **more)
    try:
        yield place
    finally:
        place.end()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 a run and all below it, stopped first so that none makes another meanwhile."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        while new := [item for item in (top, *top.children(True)) if item not in family]:
            family += new
            for item in new:
                with contextlib.suppress(psutil.NoSuchProcess):
                    item.suspend()
    for item in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            item.kill()
    process.wait(timeout=30)


class Watch:
    """Looks for words in processes, and in files that come and go, while something runs here."""

    def __init__(self, words: dict[str, str], folders: list[Path], known: set[str]) -> None:
        self._looker = Looker(words, list(map(str, folders)), known, containers=False)
        self._stop = threading.Event()

    @property
    def found(self) -> set[str]:
        return self._looker.found

    @property
    def words(self) -> dict[str, str]:
        """Return what is looked for by now."""
        return dict(self._looker.words)

    @property
    def looks(self) -> int:
        return self._looker.looks

    def learn_from(self, *env_files: Path) -> Watch:
        """Look for the secrets in these files, too, as soon as they stand there."""
        self._looker.env_files = list(map(str, env_files))
        return self

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self._looker.look()
