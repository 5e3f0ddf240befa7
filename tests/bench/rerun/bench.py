"""A run that has nothing to do, against everything that could be run instead.

    python tests/bench/rerun/bench.py [--rounds 5] [--dir DIR] [--only PART]

Makes a virtual environment with this package and pyinfra in DIR, installs the native profile
into a HOME below it, and runs the rows in turn: rows of one table were interleaved and are
medians; compare rows of one table only. The engine listens on 127.0.0.1 and is ended afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import os
import random
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MIB = 1024 * 1024
PEERS = ("pyinfra",)


@dataclass(frozen=True)
class Cost:
    """What one run took: wall and CPU seconds of it and its children, peak MB of the largest."""

    wall: float
    cpu: float = 0.0
    peak_mb: float = 0.0


#: Starts and times a command. Linux counts the size of whoever forked a process in that process's
#: own peak, so a small one does it: some 10 MB are the least that can be seen.
_WATCH = """\
import os, sys, time
os.set_inheritable(int(sys.argv[1]), False)
began = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
wall = time.monotonic() - began
figures = (wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
os.write(int(sys.argv[1]), " ".join(map(str, figures)).encode())
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Bench:
    """A HOME with a finished native install, and the commands that are compared on it."""

    def __init__(self, directory: Path, source: Path = ROOT, peers: Sequence[str] = PEERS) -> None:
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        self.venv = directory / "venv"
        self.port = free_port()
        subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)
        self.pip("install", "--quiet", "--quiet", "--quiet", str(source), *peers)
        kept = {
            name: value
            for name, value in os.environ.items()
            # Without byte code every start would compile what an install has compiled.
            if not name.startswith(("DREAM_", "ANSIBLE_", "XDG_", "PYTHON"))
        }
        self.environment = {**kept, "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        #: What was measured, by title and row: tests/bench/run.py makes a page of it.
        self.tables: dict[str, dict[str, Cost]] = {}

    def pip(self, *words: str) -> None:
        subprocess.run([self.venv / "bin" / "pip", *words], check=True)

    def program(self, name: str) -> str:
        return str(self.venv / "bin" / name)

    def ours(self, *more: str) -> list[str]:
        return [
            self.program("dream-runner"),
            "install",
            "--profile=native",
            "--model=smoke",
            f"--install-dir={self.home}/dream",
            f"--engine-port={self.port}",
            "--yes",
            "--json",
            *more,
        ]

    def remove(self) -> Cost:
        """Remove what was installed: the end of a bench, and the start of a first install."""
        return self.measure([self.program("dream-runner"), "uninstall", "--purge", "--yes"])

    def measure(self, command: Sequence[str]) -> Cost:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as figures:
            number = figures.fileno()
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _WATCH, str(number), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.home,
                pass_fds=[number],
            )
            if done.returncode:
                output.seek(0)
                said = output.read().decode(errors="replace")[-3000:]
                raise SystemExit(f"{' '.join(command)} failed ({done.returncode}):\n{said}")
            figures.seek(0)
            return Cost(*map(float, figures.read().split()))

    def table(self, title: str, rows: dict[str, Sequence[str]], rounds: int) -> dict[str, Cost]:
        """Run the rows in turn, ``rounds`` times, and print their medians against the first."""
        runs: dict[str, list[Cost]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, command in rows.items():
                runs[name].append(self.measure(command))
        found = {name: median(costs) for name, costs in runs.items()}
        self.tables[title] = found
        base = next(iter(found.values()))
        print(f"\n{title} (median of {rounds}, load {os.getloadavg()[0]:.1f})")
        print(f"{'':46} {'wall s':>7} {'ratio':>6} {'CPU s':>7} {'ratio':>6} {'peak MB':>8}")
        for name, cost in found.items():
            print(
                f"{name:46} {cost.wall:7.2f} {cost.wall / base.wall:6.2f} {cost.cpu:7.2f}"
                f" {cost.cpu / base.cpu:6.2f} {cost.peak_mb:8.0f}"
            )
        return found


def median(costs: Sequence[Cost]) -> Cost:
    """Return the medians of each figure."""
    return Cost(
        *(
            statistics.median(getattr(cost, name) for cost in costs)
            for name in ("wall", "cpu", "peak_mb")
        )
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pyinfra_deploy(home: Path, directory: Path) -> Path:
    """Write the checks of our survey as pyinfra operations, from the receipts themselves."""
    lines = ["from pyinfra.operations import apt, files, server", ""]
    receipts = sorted((home / ".local/state/dream-runner/receipts").glob("*.json"))
    for number, item in enumerate(
        resource for path in receipts for resource in json.loads(path.read_text())["resources"]
    ):
        lines += operation(item, number, directory)
    deploy = directory / "deploy.py"
    deploy.write_text("\n".join(lines) + "\n")
    return deploy


def operation(item: dict[str, Any], number: int, directory: Path) -> list[str]:
    kind, path = item["kind"], item.get("path", "")
    if not item["seen"]["present"]:
        return []
    mode = item["seen"].get("mode", "")
    if kind == "directory":
        return [f"files.directory(path={path!r}, mode={mode!r})"]
    if kind == "file" and not os.path.isfile(path):
        return [f"server.shell(commands=['test -S {path}'])"]
    if kind == "model" or (kind == "file" and item.get("volatile")):
        return [f"files.file(path={path!r}, mode={mode!r})"]
    if kind == "file":
        source = directory / f"source{number}"
        shutil.copy(path, source)
        return [f"files.put(src={str(source)!r}, dest={path!r}, mode={mode!r})"]
    if kind == "package":
        return [f"apt.packages(packages=[{item['name']!r}])"]
    if kind == "tree":
        command = f"find {path} -type f -printf '%P %m %s %T@\\n' | sort | sha256sum >/dev/null"
        return [f"server.shell(commands=[{command!r}])"]
    if kind == "port":
        command = f"ss -Htln 'sport = :{item['port']}' | grep -q ."
        return [f"server.shell(commands=[{command!r}])"]
    return []


def shell_checks(home: Path) -> str:
    """Return a script of the checks of our survey; a difference ends it."""
    lines = []
    for path in sorted((home / ".local/state/dream-runner/receipts").glob("*.json")):
        for item in json.loads(path.read_text())["resources"]:
            kind, where, seen = item["kind"], shlex.quote(item.get("path", "")), item["seen"]
            if not seen["present"]:
                continue
            if kind in ("directory", "model", "file", "tree"):
                lines.append(f'test "$(stat -c %a {where})" -gt 0')
            if kind == "file" and not item.get("volatile") and os.path.isfile(item["path"]):
                lines.append(f"sha256sum {where} >/dev/null")
            if kind == "tree":
                found = f"find {where} -type f -printf '%P %m %s %T@\\n'"
                lines.append(f"{found} | sort | sha256sum >/dev/null")
            if kind == "package":
                lines.append(f"dpkg-query --show {shlex.quote(item['name'])} >/dev/null")
            if kind == "port":
                lines.append(f"ss -Htln 'sport = :{item['port']}' | grep -q .")
    return "\n".join(lines) + "\n"


def target(name: str, ratio: float, most: float) -> None:
    """Print a ratio beside what it may be."""
    print(
        f"  {name:46} {ratio:6.2f}  (target <= {most:.2f})  {'ok' if ratio <= most else 'MISSED'}"
    )


SINGLE_TASK = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
"""


def playbook_command(bench: Bench) -> list[str]:
    command = [bench.program("ansible-playbook"), "-i", "localhost,", "-c", "local"]
    # Named, or the others would also pay for looking for it.
    return [*command, "-e", f"ansible_python_interpreter={bench.program('python')}"]


def single_task(bench: Bench, directory: Path) -> list[str]:
    """Return the command of a playbook of one module task: what Ansible costs at least."""
    path = directory / "single.yml"
    path.write_text(SINGLE_TASK)
    return [*playbook_command(bench), str(path)]


def no_change(bench: Bench, directory: Path, rounds: int) -> None:
    """Print the table of runs that change nothing."""
    single = single_task(bench, directory)
    playbook = playbook_command(bench)
    settings = bench.home / "settings.json"
    settings.write_text(
        json.dumps(
            {
                "dream_profile": "native",
                "dream_model": "smoke",
                "dream_install_dir": f"{bench.home}/dream",
                "dream_engine_port": bench.port,
                "dream_full": True,
            }
        )
    )
    bench.environment["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    roles = [*playbook, f"-e@{settings}", str(ROOT / "playbooks" / "install.yml")]
    shell = directory / "checks.sh"
    shell.write_text(shell_checks(bench.home))
    deploy = pyinfra_deploy(bench.home, directory)
    found = bench.table(
        "A run that changes nothing, on this machine",
        {
            "ansible-playbook, one module task": single,
            "dream-runner install": bench.ours(),
            "dream-runner install --full": bench.ours("--full"),
            "ansible-playbook on the same roles": roles,
            "pyinfra, the same checks": [bench.program("pyinfra"), "-y", "@local", str(deploy)],
            "a shell script, the same checks": ["bash", "-e", str(shell)],
        },
        rounds,
    )
    floor, ours, full, _, pyinfra, _ = found.values()
    target("ours / one module task, wall", ours.wall / floor.wall, 0.6)
    target("ours / ours --full, wall", ours.wall / full.wall, 1 / 15)
    target("ours / pyinfra, wall", ours.wall / pyinfra.wall, 1.0)


class Origin(http.server.ThreadingHTTPServer):
    """Serves one file slowly, by ranges, and knows when it was asked for it."""

    def __init__(self, content: bytes, rate: float) -> None:
        self.content = content
        self.rate = rate
        self.asked: list[float] = []
        #: One line for all connections: more of them bring nothing.
        self.line = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        self.server.asked.append(time.monotonic())
        whole = self.server.content
        begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        first, last = int(begin), int(end) if end else len(whole) - 1
        self.send_response(206)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        for offset in range(first, last + 1, MIB // 4):
            part = whole[offset : min(offset + MIB // 4, last + 1)]
            try:
                self.wfile.write(part)
            except OSError:
                return
            with self.server.line:
                time.sleep(len(part) / self.server.rate)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def first_byte(bench: Bench, directory: Path, rounds: int) -> None:
    """Print and keep how long a resumed install takes to ask for the first missing byte."""
    single = [bench.measure(single_task(bench, directory)).wall for _ in range(rounds)]
    whole = random.Random(1).randbytes(64 * MIB)
    digest = hashlib.sha256(whole).hexdigest()
    seconds = []
    with Origin(whole, rate=8 * MIB) as origin:
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{origin.server_port}/model.gguf"
        model = (f"--model={url}", f"--model-sha256={digest}", f"--model-size-bytes={len(whole)}")
        for _ in range(rounds):
            for path in (bench.home / "dream" / "data" / "models").glob("model.gguf*"):
                path.unlink()
            interrupt(bench, origin, bench.ours(*model, "--resume"))
            origin.asked.clear()
            began = time.monotonic()
            interrupt(bench, origin, bench.ours(*model, "--resume"))
            seconds.append(origin.asked[0] - began)
        origin.shutdown()
    first = statistics.median(seconds)
    bench.tables["From the command to the first missing byte of a fetch that was killed"] = {
        "ansible-playbook, one module task": Cost(statistics.median(single)),
        "dream-runner install": Cost(first),
    }
    print(
        f"\nFrom the command to the first missing byte of a fetch that was killed: "
        f"{first:.2f} s (median of {rounds})"
    )
    target("first byte / one module task, wall", first / statistics.median(single), 2.5)


def interrupt(bench: Bench, origin: Origin, command: Sequence[str]) -> None:
    """Run until a second's worth of the model came in, then kill -9 the whole tree."""
    asked = len(origin.asked)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=bench.environment,
        cwd=bench.home,
        start_new_session=True,
    )
    while len(origin.asked) == asked:
        if child.poll() is not None:
            raise SystemExit(f"{' '.join(command)} ended before it asked for the model")
        time.sleep(0.005)
    time.sleep(1.0)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    # The module notices within two seconds that its run is gone.
    time.sleep(3.0)


PARTS = {"no-change": no_change, "first-byte": first_byte}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--dir", type=Path, help="where to work; default: a new temporary folder")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.dir, prefix="dream-bench-") as name:
        directory = Path(name)
        bench = Bench(directory)
        try:
            bench.measure(bench.ours())
            bench.measure(bench.ours())
            for part in wanted.only or PARTS:
                PARTS[part](bench, directory, wanted.rounds)
        finally:
            bench.remove()


if __name__ == "__main__":
    main()
