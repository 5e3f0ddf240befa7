"""An isolated HOME in which whole installs run, are killed and are compared."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from nodes import processes

from . import journals

#: What differs between two equal installs: journals, logs, process ids, sockets, byte code,
#: pip's own cache, and the lock file that names its last holder.
#: And what does not belong to an install: install.sh's link to its command. The backup of .env
#: is there only where it was ever replaced.
VOLATILE = re.compile(
    r"(^|/)(__pycache__|runs|logs?|tmp)(/|$)|\.(pyc|log|out|pid|sock)$|(^|/)lock$|^\.cache(/|$)|\.log\.\d+$"
    r"|^\.local/bin(/|$)|(^|/)\.env\.bak$"
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
        # Of the whole machine, where other tests mount things; and the digest of them.
        "mounts",
        "dream_host.mounts",
        # Of the disk that a case puts below HOME.
        "filesystem",
    }
)
#: What nothing that ended may leave, wherever it lies.
LEFTOVER = re.compile(
    r"(^|/)(\.dream-tmp-|\.pip-tmp|pip-(build|ephem|install|metadata|modern|req|unpack|wheel)"
    r"|~|tmp[a-z0-9_]{8}$|ansible-tmp-)|\.(part|partial|tmp)$"
)
#: Where the servers of the cases listen; never through a proxy.
LOCAL_NETWORK = "127.0.0.1,localhost,10.213.7.2"
SECRET = re.compile(r"^([A-Z0-9_]*(?:SECRET|TOKEN|PASS|KEY|SALT|PROJECT_ID)[A-Z0-9_]*)=(.+)$", re.M)


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
    def outcome(self) -> dict[str, Any]:
        """Return what ``--json`` printed."""
        return dict(json.loads(self.out))

    @property
    def changed(self) -> int:
        """Return how many tasks changed something."""
        return int(self.outcome["tasks"]["changed"])

    @property
    def tasks(self) -> int:
        """Return how many tasks ran at all."""
        return sum(int(number) for number in self.outcome["tasks"].values())


class Sandbox:
    """A HOME that can be wiped, put back and compared; ``source`` is the tree that installs.

    ``entry`` is what starts a run: ``runner`` (the command in the private
    environment) or ``install.sh``, whose own subject (tests/e2e/test_bootstrap.py) that
    environment is: here it is made once and kept.
    """

    def __init__(self, directory: Path, source: Path) -> None:
        self.home = directory / "home"
        self.source = source
        self.data = directory / "data"
        self.cache = directory / "cache"
        #: The engine's packages, so that no case asks PyPI for them.
        self.wheels: Path | None = None
        self.saved = directory / "saved"
        self.port = free_port()
        self.extra: dict[str, str] = {}
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
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), LOCAL_NETWORK])),
            **({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)} if self.wheels else {}),
            **self.extra,
        }

    @property
    def state_dir(self) -> Path:
        return self.home / ".local" / "state" / "dream-runner"

    def command(self, *more: str, entry: str = "runner") -> list[str]:
        # Once only: later runs have to remember the model that an earlier one was given.
        is_first = not (self.state_dir / "settings.json").exists()
        return [
            *self._program(entry, "install"),
            "--profile=native",
            *(["--model=smoke"] if is_first else []),
            f"--install-dir={self.install_dir}",
            f"--engine-port={self.port}",
            "--yes",
            "--json",
            *more,
        ]

    def _program(self, entry: str, verb: str) -> list[str]:
        if entry == "install.sh":
            return [str(self.source / "install.sh")]
        return [str(self.data / "dream-runner" / "venv" / "bin" / "dream-runner"), verb]

    def install(self, *more: str, entry: str = "runner") -> Done:
        """Run the README's command to its end."""
        return self.finish(self.start(*more, entry=entry))

    def start(
        self, *more: str, entry: str = "runner", before: Sequence[str] = (), name: str = "run"
    ) -> Run:
        """Start an install; ``before`` is put in front of the command, as strace is."""
        return self._start([*before, *self.command(*more, entry=entry)], name)

    def uninstall(self, *more: str) -> Run:
        """Start an uninstall."""
        return self._start([*self._program("runner", "uninstall"), "--yes", "--json", *more], "un")

    def ask(self, verb: str, *more: str) -> Done:
        """Run a command that only looks, to its end."""
        return self.finish(self._start([*self._program("runner", verb), *more], verb))

    def _start(self, command: list[str], name: str) -> Run:
        # Into files: a pipe's reader would wait for the daemon that inherits it. Not into HOME,
        # whose disk may be full.
        out, err = (self.saved.parent / f"{name}.{kind}" for kind in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return Run(process, out, err)

    def finish(self, run: Run, seconds: float = 400) -> Done:
        """Wait until the run has ended."""
        began = time.monotonic()
        run.process.wait(timeout=seconds)
        return Done(
            run.process.returncode,
            run.out.read_text(),
            run.err.read_text(),
            time.monotonic() - began,
        )

    def end_services(self) -> None:
        """End every process of this HOME, by id."""
        processes.kill_all(self.home)

    def wipe(self) -> None:
        """Make HOME as new; it may be a mount point, so that it stays itself."""
        self.end_services()
        self.home.mkdir(parents=True, exist_ok=True)
        for item in self.home.iterdir():
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()
        (self.home / "tmp").mkdir()

    def save(self, name: str, only: Sequence[str] = ()) -> None:
        """Keep a copy of HOME, or of some paths in it, as it is on disk now."""
        target = self.saved / name
        shutil.rmtree(target, ignore_errors=True)
        self.saved.mkdir(exist_ok=True)
        if not only:
            copy_tree(self.home, target)
        for path in only:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", str(self.home / path), str(target / path)], check=True)

    def put_back(self, name: str) -> None:
        """Make HOME what it was at ``save``; its services do not run, as after a reboot."""
        self.wipe()
        (self.home / "tmp").rmdir()
        copy_tree(self.saved / name, self.home)
        (self.home / "tmp").mkdir(exist_ok=True)

    def events(self) -> list[dict[str, Any]]:
        """Return the journal of the newest run, as far as it is written."""
        return journals.newest(self.state_dir)

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


@dataclass(frozen=True)
class Run:
    """A run that was started."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        """Return the pid of what was started."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def __str__(self) -> str:
        return f"[{self.process.args}]\n{self.out.read_text()}\n{self.err.read_text()}"


def copy_tree(source: Path, target: Path) -> None:
    """Copy with modes, times, owners and links; ``target`` may be there."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{source}/.", str(target)], check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    if path.name.startswith(".env"):
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
        items = [steady(item) for item in document]
        # The resources of a receipt are a set: after an uninstall those that it kept come first.
        is_set = all(isinstance(item, dict) and "origin" in item for item in items)
        return sorted(items, key=json.dumps) if is_set else items
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
