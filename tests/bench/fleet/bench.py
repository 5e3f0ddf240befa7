"""What a fleet costs its controller: runs that change nothing, over more and more hosts.

    python tests/bench/fleet/bench.py [--nodes 5,10,20,40] [--stock 20] [--full 5] [--forks 8]
                                      [--rounds 1] [--out FILE]

Wants root and podman. One node gets the native profile from ``fleet install`` over SSH and is
kept as an image; every host of the figures is a systemd node of its own, started from it. Ours and
stock ansible-playbook on the same roles go over the same nodes in one run, at equal forks: compare
ratios, and CPU before wall. The CPU is all of the controller's: wrapper, ansible, workers, ssh.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "bench"))

import yaml  # noqa: E402
from nodes import node as nodes  # noqa: E402
from nodes.podman import Podman  # noqa: E402
from rerun.bench import Bench, Cost  # noqa: E402

SIZES = (5, 10, 20, 40)
STOCK, FULL, FORKS = 20, 5, 8
#: A run that changes nothing is to cost at most this share of the same roles by themselves.
MOST = 1 / 8

# --- a command and all that it starts -------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """What a run over ``hosts`` took on the controller; memory is the sum, shared pages once."""

    hosts: int
    wall: float
    cpu: float
    peak_mb: float


#: Takes in whoever leaves its parent, such as ssh's shared connections, and counts all of them. As
#: a program of its own, so that nothing else is counted.
_WATCH = r"""
import ctypes, json, os, signal, sys, threading, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)

def family():
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stream:
                    parents[int(name)] = int(stream.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found - {os.getpid()}
        found |= more

def pss():
    total = 0
    for pid in family():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as stream:
                total += next(int(line.split()[1]) for line in stream if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024

peak, ended = [0.0], threading.Event()
def look():
    while not ended.wait(0.5):
        peak[0] = max(peak[0], pss())
threading.Thread(target=look, daemon=True).start()
began = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
while True:
    pid, status = os.waitpid(-1, 0)
    if pid == child:
        break
wall = time.monotonic() - began
ended.set()
for pid in family():
    os.kill(pid, signal.SIGTERM)
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        break
used = os.times()
with open(sys.argv[1], "w") as stream:
    json.dump([wall, used.children_user + used.children_system, peak[0]], stream)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass
class Controller:
    """How to start both sides, and where the inventory and everything of the runs lie."""

    ours: Sequence[str]
    stock: Sequence[str]
    directory: Path
    environment: Mapping[str, str]

    def measure(self, hosts: int, command: Sequence[str]) -> Figure:
        """Run a command and return what it took; one that fails ends the bench."""
        figures, log = self.directory / "figures.json", self.directory / "log.txt"
        with log.open("w") as output:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _WATCH, str(figures), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd=ROOT,
            )
        if done.returncode:
            said = log.read_text(errors="replace")[-4000:]
            raise SystemExit(f"{' '.join(command)} failed ({done.returncode}):\n{said}")
        return Figure(hosts, *json.loads(figures.read_text()))

    def install(self, inventory: Path, forks: int, *more: str) -> list[str]:
        """Return our command."""
        words = ["fleet", "install", "-i", str(inventory), "--yes", "--json"]
        return [*self.ours, *words, "--canary=0", "--waves=100%", f"--forks={forks}", *more]

    def roles(self, inventory: Path, forks: int) -> list[str]:
        """Return stock Ansible's command: every role, as without us."""
        playbook = str(ROOT / "playbooks" / "install.yml")
        return [*self.stock, "-i", str(inventory), f"--forks={forks}", "-e", "dream_full=true",
                playbook]  # fmt: skip


# --- the hosts ------------------------------------------------------------------------


class Hosts:
    """Nodes with one install, as many as are asked for; gone when the bench ends."""

    def __init__(self, podman: Podman, controller: Controller, stack: contextlib.ExitStack) -> None:
        self._podman = podman
        self._controller = controller
        self._stack = stack
        self._directory = controller.directory
        self._running: list[nodes.Node] = []
        self._key = self._directory / "key"
        self._known = self._directory / "known_hosts"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)]
        subprocess.run(make, check=True)
        self._image = self._make_image()

    def inventory(self, count: int) -> Path:
        """Return an inventory of ``count`` hosts that are up."""
        missing = range(len(self._running), count)
        with ThreadPoolExecutor(max_workers=2) as pool:
            self._running += pool.map(self._start, missing)
        return self._write(self._running[:count])

    def _make_image(self) -> str:
        name, image = f"dream-bench-{os.getpid()}-first", f"localhost/dream-bench:{os.getpid()}"
        self._podman.remember(name)
        self._stack.callback(self._podman.run, "rmi", "-f", image, check=False)
        try:
            first = nodes.start(self._podman, name, kind="fleet")
            script = "mkdir -p -m 700 ~/.ssh && cat > ~/.ssh/authorized_keys"
            first.must("sh", "-c", script, input=self._key.with_suffix(".pub").read_text())
            passed = "".join(f"{key}={value}\n" for key, value in nodes.environment().items())
            first.must("sh", "-c", "cat >> /etc/environment", input=passed)
            inventory = self._write([first])
            self._controller.measure(1, self._controller.install(inventory, 1))
            first.must("sync")
            self._podman.run("commit", "-q", name, image, timeout=300)
        finally:
            nodes.remove(self._podman, name)
        return image

    def _start(self, number: int) -> nodes.Node:
        name = f"dream-bench-{os.getpid()}-{number}"
        self._podman.remember(name)
        self._stack.callback(nodes.remove, self._podman, name)
        words = ["run", "-d", "--name", name, "--hostname", name, "--systemd=always"]
        self._podman.run(*words, *nodes.environment_arguments(), self._image, "/sbin/init")
        machine = nodes.Node(name, self._podman, "root")
        nodes.wait_until_booted(machine, 180)
        return machine

    def _write(self, machines: Sequence[nodes.Node]) -> Path:
        self._known.write_text("".join(self._line(machine) for machine in machines))
        # Of each host: the playbooks' own group_vars beat those of an inventory's groups.
        settings = {**_defaults(), "dream_profile": "native", "dream_model": "smoke"}
        hosts = {item.name: {"ansible_host": item.address, **settings} for item in machines}
        options = f"-o UserKnownHostsFile={self._known} -o IdentitiesOnly=yes"
        shared = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_common_args": options,
        }
        path = self._directory / "inventory.yml"
        path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": shared}}))
        return path

    def _line(self, machine: nodes.Node) -> str:
        key = machine.must("cat", "/etc/ssh/ssh_host_ed25519_key.pub").out.split()[:2]
        return f"{machine.address} {' '.join(key)}\n"


def _defaults() -> dict[str, Any]:
    """Return every setting's default: our command knows them, a playbook by hand does not."""
    from dream_runner.settings.table import BY_NAME

    return {f"dream_{name}": _plain(item.default) for name, item in BY_NAME.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# --- the bench ------------------------------------------------------------------------


@dataclass
class Measured:
    """All figures of one run, the medians of its rounds."""

    forks: int
    ours: list[Figure]
    full: Figure | None
    stock: Figure | None

    def ratios(self) -> dict[str, float]:
        """Return ours over stock, at the size at which stock ran."""
        same = [item for item in self.ours if self.stock and item.hosts == self.stock.hosts]
        if not same or self.stock is None:
            return {}
        return {
            "cpu": same[0].cpu / self.stock.cpu,
            "wall": same[0].wall / self.stock.wall,
            "peak_mb": same[0].peak_mb / self.stock.peak_mb,
        }

    def growth(self) -> dict[str, Line]:
        """Return how each figure grows with the hosts."""
        return {
            name: fitted([(item.hosts, getattr(item, name)) for item in self.ours])
            for name in ("cpu", "wall", "peak_mb")
        }


@dataclass(frozen=True)
class Line:
    """``first + each * hosts``, by least squares; ``r2`` 1 is a perfect line."""

    first: float
    each: float
    r2: float


def fitted(points: Sequence[tuple[int, float]]) -> Line:
    """Return the line with the least squares of the distances."""
    xs, ys = [float(x) for x, _ in points], [y for _, y in points]
    each, first = statistics.linear_regression(xs, ys)
    mean = statistics.fmean(ys)
    total = sum((y - mean) ** 2 for y in ys)
    rest = sum((y - first - each * x) ** 2 for x, y in zip(xs, ys, strict=True))
    return Line(first, each, 1 - rest / total if total else 1.0)


@contextlib.contextmanager
def _hosts(controller: Controller) -> Iterator[Hosts]:
    podman = Podman()
    try:
        with contextlib.ExitStack() as stack:
            yield Hosts(podman, controller, stack)
    finally:
        podman.close()


def measure(
    controller: Controller,
    sizes: Sequence[int],
    *,
    stock: int,
    full: int,
    forks: int,
    rounds: int,
    say: Callable[[str], None] = print,
) -> Measured:
    """Run everything and return the figures; ``stock`` and ``full`` 0 leave those out."""

    def median(hosts: int, name: str, command: Sequence[str]) -> Figure:
        figures = [controller.measure(hosts, command) for _ in range(rounds)]
        found = Figure(
            hosts,
            *(
                statistics.median(getattr(item, key) for item in figures)
                for key in ("wall", "cpu", "peak_mb")
            ),
        )
        say(
            f"{name:44} {hosts:3} hosts {found.wall:8.1f} s wall {found.cpu:8.1f} s CPU "
            f"{found.peak_mb:7.0f} MB (load {os.getloadavg()[0]:.1f})"
        )
        return found

    nodes.require_room_for(max(*sizes, stock, full))
    with _hosts(controller) as hosts:
        made = Measured(forks, [], None, None)
        for count in sorted({*sizes, stock, full} - {0}):
            inventory = hosts.inventory(count)
            install = controller.install(inventory, forks)
            # A host that has just started is looked at anew once: its facts are of this boot.
            controller.measure(count, install)
            if count in sizes:
                made.ours.append(median(count, "dream-runner fleet install", install))
            if count == full:
                made.full = median(count, "dream-runner fleet install --full", [*install, "--full"])
            if count == stock:
                command = controller.roles(inventory, forks)
                made.stock = median(count, "ansible-playbook on the same roles", command)
    return made


def report(made: Measured) -> str:
    """Return the growth and the ratios in words."""
    lines = []
    for name, line in made.growth().items() if len(made.ours) > 1 else ():
        unit = {"cpu": "CPU s", "wall": "wall s", "peak_mb": "MB"}[name]
        lines.append(f"growth: {line.first:.2f} + {line.each:.3f} a host {unit} (r2 {line.r2:.4f})")
    for name, ratio in made.ratios().items():
        verdict = ""
        if name != "peak_mb":
            verdict = f" (target <= {MOST:.3f}) {'ok' if ratio <= MOST else 'MISSED'}"
        lines.append(f"ours / stock, {name}: {ratio:.3f}{verdict}")
    if made.full:
        lines.append(f"--full: {made.full.cpu / made.full.hosts:.1f} CPU s a host")
    return "\n".join(lines)


def fleet(bench: Bench, directory: Path, rounds: int) -> None:
    """Measure with the bench's own environment and keep the rows (tests/bench/run.py)."""
    place = directory / "fleet"
    place.mkdir()
    kept = {key: value for key, value in bench.environment.items() if key != "ANSIBLE_CONFIG"}
    controller = Controller(
        [bench.program("dream-runner")],
        [bench.program("ansible-playbook")],
        place,
        {**kept, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )
    made = measure(controller, SIZES, stock=STOCK, full=FULL, forks=FORKS, rounds=rounds)
    print(report(made))
    assert made.stock is not None
    rows = {f"ansible-playbook on the same roles, {made.stock.hosts} hosts": made.stock}
    rows |= {f"dream-runner fleet install, {item.hosts} hosts": item for item in made.ours}
    bench.tables["A fleet in which nothing differs, controller"] = {
        name: Cost(item.wall, item.cpu, item.peak_mb) for name, item in rows.items()
    }


def _here(directory: Path) -> Controller:
    """Return a controller of this checkout; byte code first, as an install has it."""
    compileall.compile_dir(str(ROOT / "dream_runner"), quiet=1)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DREAM_", "ANSIBLE_", "XDG_", "PYTHON"))
    }
    environment = {
        **kept,
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    }
    ours = [sys.executable, "-m", "dream_runner"]
    return Controller(ours, [sys.executable, "-m", "ansible", "playbook"], directory, environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default=",".join(map(str, SIZES)))
    parser.add_argument("--stock", type=int, default=STOCK, help="0: without stock Ansible")
    parser.add_argument("--full", type=int, default=FULL, help="0: without --full")
    parser.add_argument("--forks", type=int, default=FORKS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    wanted = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dream-bench-") as name:
        made = measure(
            _here(Path(name)),
            [int(part) for part in wanted.nodes.split(",") if part],
            stock=wanted.stock,
            full=wanted.full,
            forks=wanted.forks,
            rounds=wanted.rounds,
        )
    print(report(made))
    print(f"{time.monotonic() - began:.0f} s in all")
    if wanted.out:
        wanted.out.write_text(json.dumps(asdict(made), indent=2) + "\n")


if __name__ == "__main__":
    main()
