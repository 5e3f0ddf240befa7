"""The survey sees everything that an install repairs, and an install repairs all it sees.

Every resource of a whole native install is broken in every way its kind can break, one at a
time: the plan names it. Then an install repairs it and the next look is clean; with
DREAM_CHAOS_FULL=1 after every single break, without it after a sample that has each kind and each
way once. A kind of resource that no table here breaks makes the first test fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from chaos import sandbox
from e2e import test_equivalence as nodes_test
from nodes import processes

from dream_runner.module_utils.dream_core.native import supervisord_state
from dream_runner.module_utils.dream_core.records import receipt, survey
from dream_runner.module_utils.dream_core.resources.kind import name_of

ROOT = Path(__file__).resolve().parents[2]
EVERY_REPAIR = os.environ.get("DREAM_CHAOS_FULL", "") not in ("", "0")

#: Kinds that this machine's own install does not make: broken in a node with an engine.
IN_NODES = frozenset(nodes_test.BREAKS) | nodes_test.WITHOUT_INSTALL


class Machine:
    """A HOME with a finished native install."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.install_dir = home / "dream"
        self.state_dir = home / ".local" / "state" / "dream-runner"
        self.port = sandbox.free_port()
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XDG_", "DREAM_", "PYTHON", "ANSIBLE_"))
        }
        self.environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)}

    def run(self, verb: str, *more: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "dream_runner", verb, "--json", *more],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def install(self, *more: str) -> dict[str, Any]:
        return self.run("install", "--yes", *more)

    def due(self) -> dict[str, str]:
        """Return the phases that the plan would run, each with its reason."""
        steps = self.run("plan")["steps"]
        return {
            step["phase"]: f"{step['why']} {step['detail']}"
            for step in steps
            if step["why"] != "unchanged"
        }

    def receipts(self) -> dict[str, Any]:
        found, warnings = receipt.read_all(str(self.state_dir))
        assert warnings == []
        return found

    def drift(self) -> list[str]:
        return [
            f"{phase}: {item['what']} {item['found']}"
            for phase, found in survey.survey(self.receipts()).items()
            for item in found
        ]

    def resources(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (phase, item)
            for phase, document in self.receipts().items()
            for item in document["resources"]
            if item["seen"]["present"]
        ]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp("equivalence")
    machine = Machine(home)
    try:
        machine.install(
            "--profile=native",
            "--model=smoke",
            f"--install-dir={machine.install_dir}",
            f"--engine-port={machine.port}",
        )
        assert machine.due() == {}
        yield machine
    finally:
        processes.kill_all(home)


# --- the ways to break -------------------------------------------------------


def delete(path: Path) -> None:
    path.unlink()


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n# edited\n")


def edit_and_put_the_time_back(path: Path) -> None:
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def forbid(path: Path) -> None:
    path.chmod(0o000)


def link(path: Path) -> None:
    aside = path.with_name(path.name + ".elsewhere")
    path.rename(aside)
    path.symlink_to(aside)


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


def lose_a_file(path: Path) -> None:
    next(path.rglob("xllamacpp/__init__.py")).unlink()


def spoil_a_file(path: Path) -> None:
    edit(next(path.rglob("xllamacpp/__init__.py")))


def add_a_file(path: Path) -> None:
    (path / "bin" / "intruder").write_text("#!/bin/sh\n")


def lose_all(path: Path) -> None:
    shutil.rmtree(path)


FILE = (delete, edit, edit_and_put_the_time_back, truncate, forbid, link)
#: Content that is not ours to judge: only whether it is there and for whom.
VOLATILE = (delete, forbid)
PATHS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "file": FILE,
    "model": (delete, edit, truncate, open_to_all, link),
    "directory": (open_to_all,),
    "tree": (lose_a_file, spoil_a_file, add_a_file, lose_all),
}


def stop(config: str, program: str) -> None:
    """Stop the program as an operator does, through its supervisor."""
    assert (
        supervisord_state.ask(supervisord_state.socket_of(config), "stopProcess", program) is True
    )


def kill_the_supervisor(config: str, program: str) -> None:
    pid = int((Path(config).parent / "supervisord.pid").read_text())
    daemon = psutil.Process(pid)
    family = [daemon, *daemon.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)


PROGRAMS = (stop, kill_the_supervisor)


def breaks(resource: dict[str, Any]) -> list[tuple[str, Callable[[], None]]]:
    """Return every way to break ``resource`` here, each with its name."""
    kind = resource["kind"]
    if kind == "supervisor":
        words = (resource["config"], resource["program"])
        return [(act.__name__, lambda act=act: act(*words)) for act in PROGRAMS]
    if kind not in PATHS:
        return []
    path = Path(resource["path"])
    ways = PATHS[kind]
    if resource.get("volatile"):
        ways = VOLATILE
    if path.name == ".env":
        # The merge keeps what a person adds, and nothing is written through a link of theirs:
        # neither is damage.
        ways = (delete, forbid)
    return [(act.__name__, lambda act=act: act(path)) for act in ways]


def test_every_kind_of_resource_is_broken_somewhere(machine: Machine) -> None:
    made = {item["kind"] for _, item in machine.resources()}
    here = set(PATHS) | {"supervisor", "port"}
    assert made <= here | IN_NODES
    assert set(receipt.IDENTITY) == here | IN_NODES


def test_a_clean_look_means_that_no_role_would_change_anything(machine: Machine) -> None:
    assert machine.due() == {}
    assert machine.install("--full")["tasks"]["changed"] == 0
    assert machine.due() == {}


@pytest.mark.slow
@pytest.mark.timeout(3600 if EVERY_REPAIR else 1200)
def test_every_break_is_seen_and_repaired(machine: Machine) -> None:
    """One test, because each break starts from the host that the last repair left."""
    repaired: set[tuple[str, str]] = set()
    unseen, unrepaired = [], []
    for phase, resource in machine.resources():
        for way, act in breaks(resource):
            name = f"{name_of(resource)}: {way}"
            sample = (f"{resource['kind']} {resource.get('volatile', False)}", way)
            print(f"breaks {name}")
            with kept(resource, machine.home / "aside") as put_back:
                act()
                if not wait_until(lambda: bool(machine.drift())):
                    unseen.append(name)
                if EVERY_REPAIR or sample not in repaired:
                    repaired.add(sample)
                    assert phase in machine.due(), name
                    machine.install()
                else:
                    put_back()
            left = machine.drift()
            if left:
                unrepaired.append(f"{name}: {left}")
                machine.install("--full")
    assert unseen == []
    assert unrepaired == []
    assert machine.due() == {}


@contextlib.contextmanager
def kept(resource: dict[str, Any], aside: Path) -> Iterator[Callable[[], None]]:
    """Keep a copy of a file meanwhile; yield what puts it, or a directory's mode, back."""
    path = Path(resource.get("path", ""))
    if resource["kind"] == "directory":
        mode = path.stat().st_mode
        yield lambda: path.chmod(mode)
    elif resource["kind"] in ("file", "model"):
        # A socket has no content to copy: it is kept by a second name.
        keep = shutil.copy2 if stat.S_ISREG(path.stat().st_mode) else os.link
        mode = path.stat().st_mode
        keep(path, aside)

        def put_back() -> None:
            path.unlink(missing_ok=True)
            keep(aside, path)
            path.chmod(mode)

        yield put_back
        aside.unlink()
    else:
        yield lambda: pytest.fail(f"{name_of(resource)} cannot be put back by a test")


@pytest.mark.slow
def test_an_engine_that_hangs_is_started_anew(machine: Machine) -> None:
    """It holds its port, its supervisor calls it running: only a question tells."""
    machine.install()
    for pid in sandbox.service_pids(machine.home):
        process = psutil.Process(pid)
        if "dream_engine.py" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGSTOP)
    assert machine.due() == {}
    assert machine.install()["tasks"]["changed"] > 0
    assert machine.install()["tasks"]["changed"] == 0


def wait_until(check: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Return whether ``check`` came true: a daemon needs a moment to notice."""
    deadline = time.monotonic() + seconds
    while not (true := check()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return true
