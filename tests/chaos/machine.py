"""A node with the full profile, looked at and killed from outside: from this machine's /proc."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from e2e import stack
from fixtures import villain
from images import docker_registry
from nodes.node import Node

from dream_runner import catalog
from dream_runner.module_utils.dream_core.records import install_mark

from . import journals, sandbox, served, victims
from .sandbox import Done, Run

#: Every process of a run that is to be killed has this in its environment.
MARK = "DREAM_CHAOS_RUN"
#: What nothing that ended may leave running, in or outside the tree of the run.
OURS = re.compile(r"ansible|dream[-_]runner|docker[- ]compose|docker (pull|load|compose)|pip ")
#: All that an install puts outside HOME, and what of the engine is ours to change.
SYSTEM = ("etc/docker", "etc/systemd/system", "etc/apt/sources.list.d", "etc/apt/keyrings")
_SERVED = "/root/served"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class NodeRun(Run):
    """A run in the node; its processes are found by the mark in their environment."""

    mark: str

    @property
    def pid(self) -> int:
        """Return the pid, on this machine, of what was started in the node."""
        known = marked(self.mark)
        tops = [item for item in known if item.ppid() not in {other.pid for other in known}]
        return min((item.pid for item in tops), default=self.process.pid)


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes of this machine, nodes included, that bear the mark."""
    word, found = f"{MARK}={mark}\0".encode(), []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if word in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(psutil.Process(pid))
    return found


class Machine:
    """The node: installs in it, its files as this machine sees them, its containers."""

    def __init__(self, node: Node, model: Path, rate: int) -> None:
        smoke = catalog.HERE / "smoke.gguf"
        self.node = node
        self.stack = stack.prepare(node, {"smoke": smoke})
        self.sha256 = stack.sha256(model)
        self.size = model.stat().st_size
        self._url = self._serve(model, rate)
        said = node.podman.run("inspect", "--format", "{{.State.Pid}}", node.name)
        self.home = Path(f"/proc/{int(said.stdout)}/root/root")
        self.directory = model.parent
        self.mark = ""

    def _serve(self, model: Path, rate: int) -> str:
        node, port_file = self.node, f"{_SERVED}/url"
        for path in (villain.__file__, served.__file__, str(model)):
            node.copy_in(path, f"{_SERVED}/{Path(path).name}")
        content = f"{_SERVED}/{model.name}"
        program = ["python3", "-B", f"{_SERVED}/served.py", content, str(rate), port_file]
        stack.unit(node, "test-model", program)
        stack.wait_for(lambda: node.run("test", "-s", port_file).code == 0, seconds=30)
        return node.must("cat", port_file).out.strip()

    # --- installs ------------------------------------------------------------

    def options(self, features: tuple[str, ...]) -> list[str]:
        """Return what every install is told: the model, and of the features only these."""
        # The tests ask the engine from outside; it has no sign-in, and --lan leaves it closed.
        words = ["--yes", "--json", "--lan", "--expose", "llama-server"]
        words += ["--model", self._url, "--sha256", self.sha256]
        # The agent refuses a shorter context.
        words += ["--context-tokens", "65536" if "agents" in features else "0"]
        words += ["--profile", "full", "--fast-start", "no"]
        every = catalog.load().features["features"]
        for name in every:
            words += [f"--{name}", "yes" if name in features else "no"]
        return words

    def start(self, *words: str, entry: str = "") -> NodeRun:
        """Start ``dream-runner WORDS``, or another ``entry``, in the node."""
        self.mark = f"{os.getpid()}-{next(_numbers)}"
        program = entry or self.node.command
        arguments = ["exec", "--env", f"{MARK}={self.mark}", "--env", f"HOME={self.node.home}"]
        arguments += ["--env", "USER=root", "--workdir", self.node.checkout, self.node.name]
        out, err = (self.directory / f"run.{kind}" for kind in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                self.node.podman.command(*arguments, program, *words),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        return NodeRun(process, out, err, self.mark)

    def finish(self, run: Run, seconds: float = 400) -> Done:
        began = time.monotonic()
        run.process.wait(timeout=seconds)
        spent = time.monotonic() - began
        return Done(run.process.returncode, run.out.read_text(), run.err.read_text(), spent)

    def install(self, *words: str, entry: str = "") -> Done:
        """Run an install to its end; by the installed command unless ``entry`` is given."""
        verb = [] if entry else ["install"]
        return self.finish(self.start(*verb, *words, entry=entry))

    # --- what is there -------------------------------------------------------

    def ready(self) -> list[str]:
        """Return the features that passed their probe; every one that was tried must have."""
        found = json.loads((self.install_dir / "summary.json").read_text())["access"]["features"]
        assert (found["failed"], found["unproven"]) == ({}, {})
        return list(found["passed"])

    @property
    def install_dir(self) -> Path:
        return self.home / "ai-server"

    @property
    def state_dir(self) -> Path:
        return self.home / stack.STATE

    def events(self) -> list[dict[str, Any]]:
        """Return the journal of the newest run, as far as it is written."""
        return journals.newest(self.state_dir)

    def files(self) -> dict[str, Any]:
        """Return kind, mode and content of every file that an install makes or changes."""
        home, root = self.home, self.home.parent
        # Without it, nothing below would be compared.
        assert (self.install_dir / ".env").is_file()
        places = [self.install_dir, home / stack.STATE, *(root / name for name in SYSTEM)]
        found: dict[str, Any] = {}
        for place in places:
            for path in _below(place):
                name = str(path.relative_to(root))
                if not sandbox.VOLATILE.search(name):
                    found[name] = _in_order(path.name, sandbox.described(path))
        return found

    def leftovers(self) -> list[str]:
        every = (path for name in ("root", "tmp") for path in _below(self.home.parent / name))
        names = (str(path.relative_to(self.home.parent)) for path in every)
        return [name for name in names if sandbox.LEFTOVER.search(name)]

    def secrets(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            return dict(sandbox.SECRET.findall((self.install_dir / ".env").read_text()))
        return {}

    def engine(self) -> dict[str, Any]:
        """Return what the engine has, less ids and times: two of one service would be two here."""
        return dict(json.loads(self.node.python(_ENGINE)))

    def state(self) -> dict[str, Any]:
        return {"files": self.files(), "engine": self.engine()}

    def strangers(self) -> list[str]:
        """Return what still runs of the last run, and whatever else looks like one of ours."""
        found = {item.pid: _words(item) for item in marked(self.mark)}
        lines = self.node.must("ps", "-eo", "cgroup=,args=", user="root").out.splitlines()
        # A service that belongs to a unit of its own is no remains of a run.
        free = [line for line in lines if ".service" not in line.split(None, 1)[0]]
        return [*found.values(), *(line for line in free if OURS.search(line.split(None, 1)[1]))]

    def wait_until_gone(self, seconds: float = 30) -> None:
        """What a kill did not reach must end by itself: no half of a run goes on alone."""
        deadline = time.monotonic() + seconds
        while (found := self.strangers()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not found, f"survived the kill: {found}"

    def sent(self) -> int:
        """Return how many bytes of the model have left its server."""
        url = self._url.replace("/paced/", "/sent/")
        ask = f"import urllib.request as u; print(u.urlopen({url!r}, timeout=30).read().decode())"
        return int(self.node.python(ask))

    def sent_by_registry(self) -> int:
        """Return how many bytes of images have left the registry."""
        return docker_registry.sent(self.node)

    # --- what is done to it --------------------------------------------------

    def sh(self, script: str) -> str:
        return self.node.must("sh", "-c", script).out

    def wipe(self) -> None:
        """Make the machine as it was before its first install, less the wrapper's environment."""
        self.sh(_WIPE)


def succeeded(done: Done) -> Done:
    assert done.code == 0, str(done)
    return done


def hit(run: NodeRun, part: str) -> bool:
    """Kill -9 one part of the run, or all of it."""
    return victims.hit(run, part, signal.SIGKILL)


def _below(place: Path) -> list[Path]:
    found = [
        Path(folder, name) for folder, names, files in os.walk(place) for name in names + files
    ]
    return sorted(([place] if place.exists() else []) + found)


def _in_order(name: str, seen: Any) -> Any:
    """Return what is seen of a file; where order means nothing, in one order.

    A key that was lost comes back at the end, and so does a resource.
    """
    if name == ".env":
        return (*seen[:2], sorted(seen[2].splitlines()))
    if name == install_mark.NAME:
        return (*seen[:2], {**seen[2], "made": sorted(seen[2]["made"])})
    return seen


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


_WIPE = r"""
set -eu
# Started more often in a minute than systemd takes for a mistake.
systemctl reset-failed docker.service docker.socket containerd.service
systemctl start docker
docker ps --all --quiet | xargs -r docker rm --force --volumes >/dev/null
docker network ls --quiet --filter label=com.docker.compose.project |
    xargs -r docker network rm >/dev/null
docker volume ls --quiet | xargs -r docker volume rm >/dev/null
rm -rf /root/ai-server
cd /root/.local/state/dream-runner
find . -mindepth 1 -maxdepth 1 ! -name images.lock.json -exec rm -rf {} +
docker image ls --quiet --no-trunc | sort -u | xargs -r docker image rm --force >/dev/null
if [ -e /etc/docker/daemon.json ]; then
    rm /etc/docker/daemon.json
    systemctl reset-failed docker
    systemctl restart docker
fi
"""

#: Containers by service with their image and state, and whether they are as compose would make
#: them now (their hash depends on secrets); images by name; networks, volumes.
_ENGINE = r"""
import json, os, subprocess
def ask(*words):
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout
ids = ask("ps", "--all", "--quiet", "--no-trunc").split()
found = json.loads(ask("inspect", *ids)) if ids else []
wanted, containers = {}, {}
if os.path.exists("/root/ai-server/docker-compose.yml"):
    os.chdir("/root/ai-server")
    wanted = dict(line.split() for line in ask("compose", "config", "--hash", "*").splitlines())
for item in found:
    labels, state = item["Config"]["Labels"], item["State"]
    name = labels.get("com.docker.compose.service", item["Name"])
    containers.setdefault(name, []).append({
        "name": item["Name"],
        "current": labels.get("com.docker.compose.config-hash") == wanted.get(name),
        "image": item["Image"],
        "state": state["Status"],
    })
names = ask("image", "ls", "--all", "--no-trunc", "--format", "{{.Repository}}@{{.Digest}} {{.ID}}")
print(json.dumps({
    "containers": containers,
    "images": sorted(set(names.splitlines())),
    "networks": sorted(ask("network", "ls", "--format", "{{.Name}}").split()),
    "volumes": sorted(ask("volume", "ls", "--format", "{{.Name}}").split()),
}))
"""
