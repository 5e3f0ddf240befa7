"""An isolated HOME in which whole installs run, are killed and are compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from nodes import processes

#: What differs between two equal installs: journals, logs, process ids, sockets, byte code,
#: pip's own cache, and the lock file that names its last holder.
VOLATILE = re.compile(
    r"(^|/)(__pycache__|runs|logs?|tmp)(/|$)|\.(pyc|log|out|pid|sock)$|(^|/)lock$|^\.cache(/|$)|\.log\.\d+$"
)
#: Keys of our documents that hold a time, a run or a count of work done.
VOLATILE_KEYS = frozenset(
    {
        "run_id",
        "started_at",
        "finished_at",
        "gathered_at",
        "saved_at",
        "changed",
        "seconds",
        "mtime_ns",
        "inode",
        "answer",
        "pid",
        # What the survey last saw of a resource: we look at the resources themselves.
        "seen",
        # Of the whole machine, where other tests mount things.
        "mounts",
    }
)
#: What nothing that ended may leave, wherever it lies.
LEFTOVER = re.compile(
    r"(^|/)(\.dream-tmp-|\.pip-tmp|pip-(build|ephem|install|metadata|modern|req|unpack|wheel)"
    r"|~|tmp[a-z0-9_]{8}$|ansible-tmp-)|\.(part|partial|tmp)$"
)
SECRET = re.compile(r"^([A-Z0-9_]*(?:SECRET|TOKEN|PASS|KEY|SALT)[A-Z0-9_]*)=(.+)$", re.M)


@dataclass(frozen=True)
class Done:
    """A finished run."""

    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"[exit {self.code}, {self.seconds:.1f} s]\n{self.out}\n{self.err}"

    @property
    def changed(self) -> int:
        """Return how many tasks changed something, from the JSON outcome."""
        return int(json.loads(self.out)["tasks"]["changed"])


class Sandbox:
    """A HOME that can be wiped; ``source`` is the checkout whose install.sh runs."""

    def __init__(self, directory: Path, source: Path) -> None:
        self.home = directory / "home"
        self.source = source
        #: The private environment is install.sh's own subject (tests/e2e/test_bootstrap.py):
        #: here it is made once and kept.
        self.data = directory / "data"
        self.cache = directory / "cache"
        self.port = free_port()
        self.wipe()

    @property
    def install_dir(self) -> Path:
        return self.home / "dream"

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XDG_", "DREAM_", "PYTHON", "ANSIBLE_", "VIRTUAL_ENV"))
        }
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.data),
            "PIP_CACHE_DIR": str(self.cache),
            "TMPDIR": str(self.home / "tmp"),
            # pip asks rustc who it is, and rustup then writes into HOME.
            "RUSTUP_HOME": "/nonexistent",
        }

    def command(self, *more: str) -> list[str]:
        return [
            str(self.source / "install.sh"),
            "--profile=embedded",
            f"--install-dir={self.install_dir}",
            f"--engine-port={self.port}",
            "--yes",
            "--json",
            *more,
        ]

    def install(self, *more: str) -> Done:
        """Run the README's command to its end."""
        return self._finish(self.start(*more))

    def start(self, *more: str) -> subprocess.Popen[str]:
        # Into files: a pipe's reader would wait for the daemon that inherits it.
        out, err = self.home / "tmp" / "out.log", self.home / "tmp" / "err.log"
        with out.open("w") as stdout, err.open("w") as stderr:
            return subprocess.Popen(
                self.command(*more),
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )

    def _finish(self, process: subprocess.Popen[str]) -> Done:
        began = time.monotonic()
        process.wait(timeout=400)
        seconds = time.monotonic() - began
        out, err = (self.home / "tmp" / f"{name}.log" for name in ("out", "err"))
        return Done(process.returncode, out.read_text(), err.read_text(), seconds)

    def end_services(self) -> None:
        """End every process of this HOME, by id."""
        processes.kill_all(self.home)

    def wipe(self) -> None:
        """Make HOME as new."""
        self.end_services()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.home)
        (self.home / "tmp").mkdir(parents=True)

    def state(self) -> dict[str, Any]:
        """Return what a second install must leave the same: paths, kinds, modes, contents."""
        return {name: described(path) for name, path in self._paths() if not VOLATILE.search(name)}

    def leftovers(self) -> list[str]:
        return [name for name, _ in self._paths() if LEFTOVER.search(name)]

    def secrets(self) -> dict[str, str]:
        """Return the secrets of the installed ``.env``, or nothing where there is none yet."""
        with contextlib.suppress(FileNotFoundError):
            return dict(SECRET.findall((self.install_dir / ".env").read_text()))
        return {}

    def _paths(self) -> list[tuple[str, Path]]:
        found = []
        for folder, directories, files in os.walk(self.home):
            for name in directories + files:
                path = Path(folder, name)
                found.append((str(path.relative_to(self.home)), path))
        return sorted(found)

    def strangers(self) -> list[str]:
        """Return processes of this HOME that are neither the supervisor nor below it."""
        service = service_pids(self.home)
        return [text for pid, text in processes.of_home(self.home).items() if pid not in service]

    def answer(self) -> str:
        """Return what the model says; raises where it says nothing."""
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return str(json.load(response)["choices"][0]["message"]["content"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_run(process: subprocess.Popen[str]) -> None:
    """Kill -9 the run and all its descendants, as ``kill -9`` of the tree does.

    A supervisor that has already detached itself is not part of the run.
    """
    seen: dict[int, psutil.Process] = {}
    while True:
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(process.pid)
            new = {item.pid: item for item in [top, *top.children(recursive=True)]}
        fresh = [item for pid, item in new.items() if pid not in seen]
        if not fresh:
            break
        seen |= new
        for item in fresh:
            with contextlib.suppress(psutil.NoSuchProcess):
                item.send_signal(signal.SIGSTOP)
    for item in seen.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            item.kill()
    process.wait(timeout=30)


def service_pids(home: Path) -> set[int]:
    """Return the supervisor's pid and those of its programs."""
    found = set()
    for pid, text in processes.of_home(home).items():
        if "supervisord" in text:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {pid, *(child.pid for child in psutil.Process(pid).children(True))}
    return found


def described(path: Path) -> Any:
    """Return kind, mode and content of ``path``, less what differs between equal installs."""
    status = path.lstat()
    mode = oct(stat.S_IMODE(status.st_mode))
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return ("directory", mode)
    if not stat.S_ISREG(status.st_mode):
        return ("special", mode)
    return ("file", mode, content(path))


def content(path: Path) -> Any:
    data = path.read_bytes()
    if path.name == ".env":
        return SECRET.sub(r"\1=made once", data.decode())
    if data[:1] == b"{":
        with contextlib.suppress(ValueError):
            return steady(json.loads(data))
    return hashlib.sha256(data).hexdigest()


def steady(document: Any) -> Any:
    """Return ``document`` without times, runs and counts of work done."""
    if isinstance(document, dict):
        # The facts carry a digest of themselves, their time included.
        leave = VOLATILE_KEYS | {"digest"} if "gathered_at" in document else VOLATILE_KEYS
        return {key: steady(value) for key, value in document.items() if key not in leave}
    if isinstance(document, list):
        return [steady(item) for item in document]
    return document


def differences(one: Any, two: Any, where: str = "") -> list[str]:
    """Return what differs between two states, a line for each leaf."""
    if isinstance(one, dict) and isinstance(two, dict):
        names = sorted(one.keys() | two.keys())
        pairs = [(f"{where}/{name}", one.get(name), two.get(name)) for name in names]
    elif isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        pairs = [(f"{where}[{n}]", *both) for n, both in enumerate(zip(one, two, strict=True))]
    else:
        return [] if one == two else [f"{where}: undisturbed {one}, after the kill {two}"]
    return [line for name, left, right in pairs for line in differences(left, right, name)]
