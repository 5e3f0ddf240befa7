"""A small model answers while the host's own is fetched: through kills, a reboot, and a bad model.

The tests share one node and go on where the one before left it. The engine, compose, both models
and their answers are real; the server of the larger model gives as many bytes as a test lets it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures import slow_origin
from nodes.node import Node, wait_until_booted

from dream_runner import catalog
from dream_runner.module_utils.dream_core.layout import UPGRADE_UNIT

from . import stack
from .stack import Stacked

#: In CI the native profile stands for both: test_fast_start_native.py.
pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = 64 * 1024 * 1024
PORT = 5081
MODELS = "/root/ai-server/data/models"
SLOW, FAST = 150_000, 500_000_000
#: What a kill may cost: the bytes of segments that were not yet confirmed.
LOST_BY_A_KILL = 8 * 1024 * 1024
FEATURES = ("voice", "workflows", "rag", "agents", "search")


@pytest.fixture(scope="module")
def stacked(module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    """A node with an engine, a server of models that a test paces, and nothing installed."""
    smoke = (catalog.HERE / "smoke.gguf").read_bytes()
    folder = tmp_path_factory.mktemp("models")
    # Bytes after the last tensor are none of the engine's business.
    contents = {
        "big": smoke + b"\x5a" * (SIZE - len(smoke)),
        # Right by its digest, and nothing that an engine can load.
        "bad": b"GGUF" + b"\xff" * (1024 * 1024),
    }
    paths: dict[str, Path] = {}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.gguf"
        paths[name].write_bytes(content)
    found = stack.prepare(module_node("13", kind="docker", engine=True), paths)
    found.node.copy_in(slow_origin.__file__, "/root/served/slow_origin.py")
    pace(found.node, SLOW)
    serve(found.node)
    return found


def serve(node: Node) -> None:
    program = ("python3", "-B", "/root/served/slow_origin.py", str(PORT), "/root/served/models")
    files = ("/root/served/rate", "/root/served/count")
    node.must("systemd-run", "--quiet", "--unit=test-origin", *program, *files)


def pace(node: Node, rate: int) -> None:
    node.must("sh", "-c", f"echo {rate} > /root/served/rate.new; mv /root/served/rate.new $0", RATE)


RATE = "/root/served/rate"


def sent(node: Node) -> int:
    return int(node.run("cat", "/root/served/count").out or 0)


def options(stacked: Stacked, model: str) -> tuple[str, ...]:
    off = [word for name in FEATURES for word in (f"--{name}", "no")]
    address = f"http://127.0.0.1:{PORT}/{model}.gguf"
    which = ("--model", address, "--sha256", stacked.models[model], "--fast-start", "smoke")
    lan = ("--lan", "--expose", "llama-server")
    return ("--yes", *lan, "--json", "--profile", "full", *which, *off)


def status(stacked: Stacked) -> Any:
    return stacked.node.runner("status", "--json").json()


def unit(node: Node, name: str) -> str:
    return node.run("systemctl", "show", "--value", f"--property={name}", UPGRADE_UNIT).out.strip()


def test_install_answers_with_the_small_model(stacked: Stacked) -> None:
    done = stacked.node.install(*options(stacked, "big"))
    assert done.code == 0, str(done)
    pending = done.json()["upgrade"]
    assert (pending["model"], pending["until"], pending["stage"]) == ("big", "smoke", "fetching")
    assert stacked.chat()[0] == "smoke"
    assert stacked.node.run("test", "-e", f"{MODELS}/big.gguf").code == 1


def test_again_changes_nothing_and_says_what_is_pending(stacked: Stacked) -> None:
    done = stacked.again()
    assert done.code == 0, str(done)
    assert done.json()["tasks"] == {"ok": 0, "changed": 0, "failed": 0, "skipped": 0}
    assert done.json()["upgrade"]["stage"] == "fetching"
    planned = stacked.node.runner("plan", "--exit-code")
    assert planned.code == 0, str(planned)


def test_status_is_read_from_the_host(stacked: Stacked) -> None:
    seen = status(stacked)
    assert (seen["state"], seen["drift"]) == ("ready", {}), seen
    first = seen["upgrade"]["done_bytes"]
    stack.wait_for(lambda: status(stacked)["upgrade"]["done_bytes"] > first, seconds=90)


def test_kill_and_reboot_lose_no_byte_that_was_confirmed(stacked: Stacked) -> None:
    node = stacked.node
    stack.wait_for(lambda: status(stacked)["upgrade"]["done_bytes"] > 0, seconds=90)
    process = unit(node, "MainPID")
    node.must("kill", "-9", process)
    stack.wait_for(lambda: unit(node, "MainPID") not in ("0", process), seconds=30)
    node.podman.run("restart", "-t", "10", node.name)
    wait_until_booted(node)
    # The server is a part of the test and not of the machine.
    serve(node)
    stack.wait_for(lambda: status(stacked)["upgrade"]["stage"] == "fetching", seconds=60)
    stack.wait_for(lambda: answers(stacked) == "smoke", seconds=60)
    assert status(stacked)["state"] == "ready"


def answers(stacked: Stacked) -> str:
    try:
        return stacked.chat()[0]
    except OSError:
        return ""


def test_the_hosts_own_model_takes_over(stacked: Stacked) -> None:
    node = stacked.node
    pace(node, FAST)
    stack.wait_for(lambda: answers(stacked) == "big", seconds=120)
    stack.wait_for(lambda: unit(node, "LoadState") == "not-found", seconds=60)
    assert sent(node) <= SIZE + 2 * LOST_BY_A_KILL, f"{sent(node)} bytes for {SIZE}"
    assert node.must("ls", MODELS).out.split() == ["big.gguf"]
    assert node.run("test", "-e", "/root/ai-server/upgrade").code == 1
    seen = status(stacked)
    assert (seen["state"], seen["drift"], seen["upgrade"]) == ("ready", {}, None), seen
    assert node.run("docker", "ps", "-aq", "--filter", "name=trial").out == ""
    summary = json.loads(node.must("cat", "/root/ai-server/summary.json").out)
    assert (summary["model"]["id"], summary["pending_model"]) == ("big", "")


def test_the_next_install_finds_all_in_order(stacked: Stacked) -> None:
    before = stacked.identities()
    done = stacked.again()
    assert done.code == 0, str(done)
    assert done.json()["tasks"] == {"ok": 0, "changed": 0, "failed": 0, "skipped": 0}
    assert done.json()["summary"]["model"]["id"] == "big"
    # The node was rebooted, which may give it another address in the LAN: the summary names that.
    moved = stacked.again("--full").json()["summary"]["access"]["lan"]
    full = stacked.again("--full")
    assert (full.code, full.json()["tasks"]["changed"]) == (0, 0), str(full)
    assert full.json()["summary"]["access"]["lan"] == moved
    assert stacked.identities() == before


def test_a_model_that_does_not_load_leaves_the_small_one(stacked: Stacked) -> None:
    node = stacked.node
    assert node.runner("uninstall", "--yes").code == 0
    # The reboot ended the registry, a part of the test, and the uninstall took the image.
    stack.serve_images(node)
    done = node.install(*options(stacked, "bad"))
    assert done.code == 0, str(done)
    stack.wait_for(lambda: unit(node, "ActiveState") == "failed", seconds=120)
    seen = stacked.node.runner("status", "--json")
    assert seen.code == 11, str(seen)
    assert seen.json()["upgrade"]["stage"] == "failed"
    assert "bad does not take its place" in seen.json()["detail"]
    assert stacked.chat()[0] == "smoke"
    env = node.must("cat", "/root/ai-server/.env").out
    assert "GGUF_FILE=smoke.gguf" in env
    assert node.run("docker", "ps", "-aq", "--filter", "name=trial").out == ""


def test_another_model_takes_the_place_of_the_refused_one(stacked: Stacked) -> None:
    done = stacked.node.install(*options(stacked, "big"))
    assert done.code == 0, str(done)
    stack.wait_for(lambda: answers(stacked) == "big", seconds=120)
    stack.wait_for(lambda: unit(stacked.node, "LoadState") == "not-found", seconds=60)
    assert status(stacked)["state"] == "ready"


def begin_again(node: Node) -> None:
    """Leave no install and no model, and hold the larger one back."""
    assert node.runner("uninstall", "--yes").code == 0
    node.must("sh", "-c", f"rm -f {MODELS}/*")
    pace(node, SLOW)


def test_it_can_be_waited_for_after_all(stacked: Stacked) -> None:
    """Switched off in the middle of its fetch: the install goes on with the bytes that are here."""
    node = stacked.node
    begin_again(node)
    assert node.install(*options(stacked, "big")).code == 0
    # Every role, and still nothing to do: the unit goes on, and is not started anew.
    process = unit(node, "MainPID")
    full = stacked.again("--full")
    assert (full.code, full.json()["tasks"]["changed"]) == (0, 0), str(full)
    assert unit(node, "MainPID") == process
    pace(node, 2_000_000)
    stack.wait_for(lambda: status(stacked)["upgrade"]["done_bytes"] > 10_000_000, seconds=120)
    before = sent(node)
    pace(node, FAST)
    done = stacked.again("--fast-start", "no")
    assert done.code == 0, str(done)
    assert done.json()["upgrade"] is None
    assert stacked.chat()[0] == "big"
    assert sent(node) - before < SIZE - 5_000_000
    assert unit(node, "LoadState") == "not-found"
    assert node.run("test", "-e", "/root/ai-server/upgrade").code == 1
    again = stacked.again()
    assert (again.code, again.json()["tasks"]["changed"]) == (0, 0), str(again)


def test_uninstall_while_it_fetches_leaves_nothing(stacked: Stacked) -> None:
    node = stacked.node
    begin_again(node)
    done = node.install(*options(stacked, "big"))
    assert done.json()["upgrade"]["stage"] == "fetching", str(done)
    removed = node.runner("uninstall", "--yes", "--purge", "--json")
    assert removed.code == 0, str(removed)
    assert unit(node, "LoadState") == "not-found"
    assert node.run("test", "-e", "/root/ai-server").code == 1
