"""Fetching against the tools people use, side by side in one run.

    python tests/bench/fetch/bench.py [--mib 2048] [--rounds 3] [--dir DIR] [--only NAME]

Installs what is missing: nginx, aria2 and curl from Debian (needs root), the hub client
and ansible-core in a virtual environment of its own. Everything stays on 127.0.0.1.
Rows of one table were interleaved and are medians; compare rows of one table only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from throttle import Throttle

ROOT = Path(__file__).resolve().parents[3]
MIB = 1024 * 1024
PACKAGES = {"nginx": "nginx", "aria2c": "aria2", "curl": "curl"}

FETCH = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from dream_runner.module_utils.dream_core.fetch.fetcher import fetch\n"
    "from dream_runner.module_utils.dream_core.fetch.request import FetchRequest\n"
    "r = fetch(FetchRequest(sys.argv[2], sys.argv[3], (sys.argv[4],),"
    " size_bytes=int(sys.argv[5]), connections=int(sys.argv[6])))\n"
    "print(r.connections, r.bytes_fetched, r.bytes_reused)\n"
)
HASH = (
    "import hashlib, sys\n"
    "h = hashlib.sha256(); b = memoryview(bytearray(1 << 20)); f = open(sys.argv[1], 'rb', 0)\n"
    "while n := f.readinto(b): h.update(b[:n])\n"
    "assert h.hexdigest() == sys.argv[2]\n"
)
#: What no verified fetch can be faster than: the same bytes received and hashed, and dropped.
FLOOR = (
    "import hashlib, queue, sys, threading, urllib.request\n"
    "h, full, empty = hashlib.sha256(), queue.SimpleQueue(), queue.SimpleQueue()\n"
    "for _ in range(6): empty.put(memoryview(bytearray(1 << 20)))\n"
    "def hash_all():\n"
    "    while (item := full.get()) is not None: h.update(item[0][:item[1]]); empty.put(item[0])\n"
    "t = threading.Thread(target=hash_all); t.start(); body = urllib.request.urlopen(sys.argv[1])\n"
    "while n := body.readinto(b := empty.get()): full.put((b, n))\n"
    "full.put(None); t.join(); assert h.hexdigest() == sys.argv[2]\n"
)
HUB = (
    "import sys; from huggingface_hub import hf_hub_download\n"
    "hf_hub_download('o/r', 'model.gguf', endpoint=sys.argv[1], local_dir=sys.argv[2])\n"
)


@dataclass(frozen=True)
class Cost:
    """What one run took: wall and CPU seconds, peak MB, and what it printed."""

    wall: float
    cpu: float
    peak_mb: float
    text: str = ""


def measure(command: Sequence[str], **environment: str) -> Cost:
    """Run a command and its children; raises when it fails."""
    read, write = os.pipe()
    began = time.monotonic()
    child = subprocess.Popen(
        command, stdout=write, stderr=subprocess.PIPE, env={**os.environ, **environment}
    )
    os.close(write)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    with os.fdopen(read) as stream:
        text = stream.read()
    assert child.stderr
    complaint = child.stderr.read().decode()
    child.stderr.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(
            f"{command[0]} failed ({child.returncode}): {complaint[-2000:]}{text[-500:]}"
        )
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text.strip())


def table(title: str, rows: dict[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """Run the rows in turn, ``rounds`` times, and print their medians."""
    runs: dict[str, list[Cost]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, run in rows.items():
            runs[name].append(run())
    found = {
        name: Cost(
            statistics.median(cost.wall for cost in costs),
            statistics.median(cost.cpu for cost in costs),
            max(cost.peak_mb for cost in costs),
            costs[-1].text,
        )
        for name, costs in runs.items()
    }
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\n{title} (median of {rounds}; load {load})")
    print(f"{'':34}  wall s   CPU s  peak MB  best wall s")
    for name, cost in found.items():
        best = min(one.wall for one in runs[name])
        line = f"{name:34}{cost.wall:8.2f}{cost.cpu:8.2f}{cost.peak_mb:9.0f}{best:13.2f}  "
        print(line, cost.text.replace("\n", " ")[-40:] if name.startswith("fetch") else "")
    return found


def ratio(what: str, value: float, limit: float) -> None:
    verdict = "ok" if value <= limit else "MISSED"
    print(f"  {what:58}{value:7.2f}  (target <= {limit:g})  {verdict}")


class Bench:
    """Files, servers and tools of one run."""

    def __init__(self, directory: Path, mib: int, rounds: int) -> None:
        self.directory = directory
        self.rounds = rounds
        self.serve = directory / "serve"
        self.big = self._file("model.gguf", mib)
        self.small = self._file("small.gguf", min(mib, 256))
        self.out = directory / "out"
        self.venv = directory / "venv"

    def _file(self, name: str, mib: int) -> tuple[Path, str]:
        path = self.serve / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, source = hashlib.sha256(), random.Random(1)
        with path.open("wb") as stream:
            for _ in range(mib):
                block = source.randbytes(MIB)
                digest.update(block)
                stream.write(block)
        return path, digest.hexdigest()

    def install(self) -> None:
        missing = [package for tool, package in PACKAGES.items() if not shutil.which(tool)]
        if missing:
            quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}}
            for words in (
                ["update", "-q"],
                ["install", "-yq", "--no-install-recommends", *missing],
            ):
                subprocess.run(["apt-get", *words], check=True, stdout=subprocess.DEVNULL, **quiet)
        subprocess.run([sys.executable, "-m", "venv", str(self.venv)], check=True)
        pip = [str(self.venv / "bin/pip"), "install", "-qq", "ansible-core", "huggingface_hub"]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)

    def clear(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def fetch(self, thing: tuple[Path, str], url: str, connections: int = 0) -> Cost:
        path, digest = thing
        size = str(path.stat().st_size)
        words = [str(ROOT), str(self.out / "m"), digest, url, size, str(connections)]
        return measure([sys.executable, "-c", FETCH, *words])

    def fresh(self, thing: tuple[Path, str], url: str, connections: int = 0) -> Cost:
        self.clear()
        return self.fetch(thing, url, connections)

    def curl(self, url: str) -> Cost:
        self.clear()
        return measure(["curl", "-sSfo", str(self.out / "m"), url])

    def hash(self, thing: tuple[Path, str]) -> Cost:
        return measure([sys.executable, "-c", HASH, str(thing[0]), thing[1]])

    def floor(self, thing: tuple[Path, str], url: str) -> Cost:
        return measure([sys.executable, "-c", FLOOR, url, thing[1]])

    def aria2(self, thing: tuple[Path, str], url: str, connections: int) -> Cost:
        self.clear()
        words = [f"-x{connections}", f"-s{connections}", "-k1M", "--quiet", "--no-conf"]
        words += ["--file-allocation=none", f"--checksum=sha-256={thing[1]}"]
        return measure(["aria2c", *words, "-d", str(self.out), "-o", "m", url])

    def get_url(self, thing: tuple[Path, str], url: str) -> Cost:
        self.clear()
        words = f"url={url} dest={self.out}/m checksum=sha256:{thing[1]} timeout=60"
        return self.ansible("get_url", words)

    def ansible(self, module: str, words: str) -> Cost:
        python = str(self.venv / "bin/python")
        command = [str(self.venv / "bin/ansible"), "-i", "localhost,", "-c", "local", "localhost"]
        command += ["-e", f"ansible_python_interpreter={python}", "-m", module, "-a", words]
        empty = self.directory / "ansible.cfg"
        empty.touch()
        home = {"ANSIBLE_HOME": str(self.directory / "ansible"), "ANSIBLE_CONFIG": str(empty)}
        return measure(command, **home)

    def hub(self, base: str) -> Cost:
        self.clear()
        words = [str(self.venv / "bin/python"), "-c", HUB, base, str(self.out)]
        home = {"HF_HOME": str(self.out / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return measure(words, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", **home)

    @contextlib.contextmanager
    def nginx(self) -> Iterator[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = self.directory / "nginx.conf"
        config.write_text(_NGINX.format(dir=self.directory, port=port, commit="0" * 40))
        command = ["nginx", "-c", str(config), "-p", str(self.directory), "-e", "stderr"]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


_NGINX = """
daemon off; master_process off; worker_processes 1; user root;
pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{
    listen 127.0.0.1:{port}; root {dir}/serve;
    add_header X-Repo-Commit {commit};
    rewrite ^/o/r/resolve/main/(.*)$ /$1 last;
  }}
}}
"""


def unthrottled(bench: Bench) -> None:
    with bench.nginx() as base:
        url = f"{base}/model.gguf"
        found = table(
            f"Unthrottled, {bench.big[0].stat().st_size // MIB} MiB from nginx, verified",
            {
                "hashlib alone (file cached)": lambda: bench.hash(bench.big),
                "received and hashed, not kept": lambda: bench.floor(bench.big, url),
                "curl, no verification": lambda: bench.curl(url),
                "fetch (connections, new, reused)": lambda: bench.fresh(bench.big, url),
                "aria2c -x16 with checksum": lambda: bench.aria2(bench.big, url, 16),
                "get_url with checksum": lambda: bench.get_url(bench.big, url),
                "ansible alone (ping)": lambda: bench.ansible("ping", ""),
                "hub client": lambda: bench.hub(base),
            },
            bench.rounds,
        )
    names = list(found)
    hashed, floor, curl, fetch, aria, get_url, ping, hub = (found[name] for name in names)
    ratio("fetch / curl without verification, wall", fetch.wall / curl.wall, 1.0)
    ratio("fetch / hashlib, wall", fetch.wall / hashed.wall, 1.25)
    print(f"  {'received and hashed, not kept / hashlib, wall':58}{floor.wall / hashed.wall:7.2f}")
    print(f"  {'fetch / received and hashed, not kept, wall':58}{fetch.wall / floor.wall:7.2f}")
    ratio("fetch / aria2c with checksum, wall", fetch.wall / aria.wall, 0.2)
    ratio(
        "fetch / (get_url less ansible itself), wall", fetch.wall / (get_url.wall - ping.wall), 0.2
    )
    ratio("fetch / hub client, wall", fetch.wall / hub.wall, 0.2)
    ratio("fetch / (curl + hashlib), CPU", fetch.cpu / (curl.cpu + hashed.cpu), 1.5)
    ratio("fetch, peak MB", fetch.peak_mb, 64)


def throttled(bench: Bench) -> None:
    with Throttle(bench.small[0], 20e6) as server:
        first = bench.fresh(bench.small, server.url)
        chosen = int(first.text.split()[0])
        found = table(
            f"20 MB/s per connection, {bench.small[0].stat().st_size // MIB} MiB, verified",
            {
                "fetch (connections, new, reused)": lambda: bench.fresh(bench.small, server.url),
                f"aria2c -x{chosen} with checksum": lambda: bench.aria2(
                    bench.small, server.url, chosen
                ),
                "fetch, 4 connections": lambda: bench.fresh(bench.small, server.url, 4),
                "aria2c -x4 with checksum": lambda: bench.aria2(bench.small, server.url, 4),
            },
            bench.rounds,
        )
    fetch, aria, fetch4, aria4 = found.values()
    ratio(f"fetch / aria2c, {chosen} connections, wall", fetch.wall / aria.wall, 0.6)
    ratio("fetch / aria2c, 4 connections, wall (for information)", fetch4.wall / aria4.wall, 0.6)


def killed(bench: Bench) -> None:
    """Kill at a share of the bytes sent; count at the server what the next run asks for."""
    print("\nkill -9, then again (20 MB/s per connection; counted at the server)")
    size = bench.small[0].stat().st_size
    with Throttle(bench.small[0], 20e6) as server:
        fresh = statistics.median(
            bench.fresh(bench.small, server.url).wall for _ in range(bench.rounds)
        )
        for share in (0.1, 0.5, 0.9):
            again, walls = [], []
            for _ in range(bench.rounds):
                bench.clear()
                server.sent = 0
                _kill_at(bench, server, int(size * share))
                first = server.sent
                server.sent = 0
                walls.append(bench.fetch(bench.small, server.url).wall)
                again.append(server.sent - (size - first))
            wall = statistics.median(walls)
            ratio(f"at {share:.0%}: MiB asked for again", max(again) / MIB, 8)
            limit = (1 - share) * fresh + 0.25 * fresh
            ratio(f"at {share:.0%}: wall / (rest + 25 % of {fresh:.2f} s)", wall / limit, 1.0)


def killed_unthrottled(bench: Bench) -> None:
    print("\nkill -9, then again (unthrottled; the floor is the hash of the whole)")
    size = bench.big[0].stat().st_size
    floor = statistics.median(bench.hash(bench.big).wall for _ in range(bench.rounds))
    with Throttle(bench.big[0], 1e12) as server:
        fresh = statistics.median(
            bench.fresh(bench.big, server.url).wall for _ in range(bench.rounds)
        )
        for share in (0.1, 0.5, 0.9):
            bench.clear()
            server.sent = 0
            _kill_at(bench, server, int(size * share))
            first, server.sent = server.sent, 0
            cost = bench.fetch(bench.big, server.url)
            new, reused = (int(word) for word in cost.text.split()[1:])
            again = (server.sent - (size - first)) / MIB
            print(
                f"  at {share:.0%}: {cost.wall:.2f} s (fresh {fresh:.2f}, hash alone {floor:.2f}); "
                f"{new / MIB:.0f} MiB new, {reused / MIB:.0f} reused, {again:.1f} sent twice"
            )


def _kill_at(bench: Bench, server: Throttle, count: int) -> None:
    path, digest = (bench.big, bench.small)[server.file == bench.small[0]]
    words = [str(ROOT), str(bench.out / "m"), digest, server.url, str(path.stat().st_size), "0"]
    child = subprocess.Popen([sys.executable, "-c", FETCH, *words])
    while server.sent < count and child.poll() is None:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()


def recheck(bench: Bench) -> None:
    """A second fetch of a file that is there: what it reads, and how long it takes."""
    with bench.nginx() as base:
        url = f"{base}/model.gguf"
        bench.fresh(bench.big, url)
        cost = bench.fetch(bench.big, url)
        words = [sys.executable, "-c", FETCH, str(ROOT), str(bench.out / "m"), bench.big[1], url]
        read = _bytes_read([*words, str(bench.big[0].stat().st_size), "0"])
    print(f"\nRe-check of an unchanged file: {cost.wall:.2f} s with the start of Python")
    ratio("bytes read by the whole process, MB", read / 1e6, 20)


def _bytes_read(command: list[str]) -> int:
    code = "import sys; print(open('/proc/self/io').read())\n"
    command[2] += code
    text = measure(command).text
    return int(next(line for line in text.splitlines() if line.startswith("rchar")).split()[1])


PARTS: dict[str, Callable[[Bench], None]] = {
    "unthrottled": unthrottled,
    "throttled": throttled,
    "killed": killed,
    "killed-unthrottled": killed_unthrottled,
    "recheck": recheck,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default="", help="where to work (default: a new temporary one)")
    parser.add_argument("--only", choices=PARTS, action="append")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fetch-bench-", dir=words.dir or None) as directory:
        os.chmod(directory, 0o755)
        # Every other tool here is installed with its bytecode; so is this one, elsewhere.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(directory) / "bytecode")
        bench = Bench(Path(directory), words.mib, words.rounds)
        bench.install()
        print(
            json.dumps(
                {"python": sys.version.split()[0], "cores": os.cpu_count(), "dir": directory}
            )
        )
        for name in words.only or PARTS:
            PARTS[name](bench)


if __name__ == "__main__":
    main()
