"""The whole stack on a bare machine that never had a network, by README.txt of a bundle.

The machine has the loopback interface alone. All other addresses lead there as well, so that every
attempt to reach one is a packet, which is recorded and leads nowhere.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from nodes.node import Node

from . import stack, test_full, test_full_features, traffic
from .stack import Stacked

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1800)]

BUNDLE = "/opt/bundle"
RECORDED = "/root/recorded"
#: The agent needs the web search, which is off by itself on a machine without a network.
EVERYTHING = "--search yes --agents yes --context-tokens 65536"
#: What works without a network, in the order of the end screen.
READY = ["chat", "documents", "voice", "agent", "workflows"]
#: One question to the model, from the machine itself: nobody else reaches it.
ASK = """
import json, urllib.request
body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}).encode()
head = {"Content-Type": "application/json"}
url = "http://127.0.0.1:11434/v1/chat/completions"
said = json.load(urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=60))
print(said["model"], bool(said["choices"][0]["message"]["content"]))
"""


def make_bundle(machine: Node) -> None:
    """Make a bundle of the full profile in ``machine``, which has its sources in itself."""
    machine.must("apt-get", "-qq", "update")
    machine.must("apt-get", "-qq", "-y", "--no-install-recommends", "install", "skopeo")
    # For the command alone: the environment is made before the flags are judged.
    assert machine.install("--tier", "nonsense").code == 2
    command = ("bundle", "create", BUNDLE, "--tier", "0", "--python", "3.13", "--json")
    done = machine.runner(*command, timeout=900)
    assert done.code == 0, str(done)
    names = {path.partition("_")[0] for path in done.json()["debs"]}
    assert {"debs/docker.io", "debs/docker-compose", "debs/python3-venv"} <= names


def carry(maker: Node, target: Node) -> None:
    """Copy the bundle from one machine to the other, as a stick would."""
    read = maker.podman.command("exec", maker.name, "tar", "-c", "-C", BUNDLE, ".")
    script = f"mkdir -p {BUNDLE} && tar -x -C {BUNDLE}"
    write = target.podman.command("exec", "-i", target.name, "sh", "-c", script)
    with subprocess.Popen(read, stdout=subprocess.PIPE) as reading:
        subprocess.run(write, stdin=reading.stdout, check=True)
    assert reading.returncode == 0


def commands(machine: Node) -> dict[str, str]:
    """Return the indented lines of README.txt by their first word, continued ones joined."""
    text = machine.must("cat", f"{BUNDLE}/README.txt").out.replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return {line.split()[0].partition("=")[0]: line for line in lines}


def record_packets(machine: Node) -> None:
    """Record what goes to the loopback interface from now on."""
    machine.copy_in(traffic.__file__, f"{RECORDED}/traffic.py")
    words = (f"{RECORDED}/report", f"{RECORDED}/stop")
    program = ["python3", "-B", f"{RECORDED}/traffic.py", *words]
    stack.unit(machine, "test-traffic", program, restart="no")
    # Its socket for packets is the first thing that it opens.
    packets = "test $(wc -l < /proc/net/packet) -gt 1"
    stack.wait_for(lambda: machine.run("sh", "-c", packets).code == 0, seconds=30)


def recorded(machine: Node) -> Any:
    """End the record and return it."""
    machine.must("touch", f"{RECORDED}/stop")
    stack.wait_for(lambda: machine.run("test", "-e", f"{RECORDED}/report").code == 0)
    found = machine.must("cat", f"{RECORDED}/report").json()
    machine.must("rm", f"{RECORDED}/report", f"{RECORDED}/stop")
    assert found["lost"] == 0
    return found


def features(done: Any) -> Any:
    return done["summary"]["access"]["features"]


def test_a_bare_machine_without_any_network(
    module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory
) -> None:
    maker = module_node("13")
    models = stack.models(tmp_path_factory.mktemp("models"))
    ready = stack.prepare(maker, models)
    stack.have_models_of_tiers(maker, models)
    make_bundle(maker)
    machine = module_node("13", engine=True, options=("--network=none",))
    assert machine.run("sh", "-c", "command -v docker").code != 0
    links = machine.must("ip", "-o", "link").out.splitlines()
    assert [line.split(": ")[1] for line in links] == ["lo"]
    machine.must("sh", "-c", traffic.LEAD_NOWHERE)
    record_packets(machine)
    carry(maker, machine)
    said = commands(machine)
    place = f"cd / && B={BUNDLE}; {said['O']}; "
    for name in ("cd", "apt-get", "mkdir", "cp"):
        line = said[name].replace("THIS_DIRECTORY", BUNDLE)
        machine.must("sh", "-c", place + line)
    assert machine.run("sh", "-c", "command -v docker").code != 0
    install = f"{place}{said['PIP_NO_INDEX']} --tier 0 {EVERYTHING} --yes --json"
    done = machine.run("sh", "-c", install, timeout=900)
    assert done.code == 0, str(done)
    found = features(done.json())
    assert (found["passed"], found["failed"]) == (READY, {})
    assert found["unproven"] == {"search": "offline, so web search cannot be tested"}
    there = Stacked(machine, ready.models)
    assert {item["State"] for item in there.containers().values()} == {"running"}
    assert set(there.containers()) == test_full.EVERYTHING
    assert machine.python(ASK).split() == ["qwen3.5-2b-q4", "True"]
    assert machine.run("test", "-f", "/root/ai-server/.offline-mode").code == 0
    proved = json.loads(machine.must("cat", f"{stack.STATE}/receipts/offline.json").out)
    assert proved["facts"]["active"] is True
    before = there.identities()
    again = machine.runner("install", "--yes", "--json")
    assert again.code == 0, str(again)
    assert again.json()["tasks"]["changed"] == 0
    assert there.identities() == before
    not_tested = f"search was not tested: {found['unproven']['search']}"
    told = test_full_features.found_by_doctor(machine)
    assert told == {"ok": f"ready: {' '.join(READY)}", "warning": not_tested}
    report = recorded(machine)
    assert report["packets"] > 100
    assert report["away"] == {}
    check_the_record(there)


def check_the_record(there: Stacked) -> None:
    """See that an attempt would have been recorded: of the machine, by name, and of a container."""
    machine = there.node
    record_packets(machine)
    for address in ("198.51.100.1", "nowhere.invalid"):
        ask = f"import socket; socket.create_connection(({address!r}, 80), 2)"
        assert machine.run("python3", "-B", "-I", "-c", ask).code == 1
    image = there.containers()["tts"]["Image"]
    words = ("docker", "run", "--rm", "--network", "dream-runner_default", "--entrypoint", "wget")
    assert machine.run(*words, image, "-T", "2", "-O", "-", "http://198.51.100.2/").code != 0
    away = set(recorded(machine)["away"])
    name_server = f"{traffic.NAME_SERVER} udp/53"
    assert away == {"198.51.100.1 tcp/80", name_server, "198.51.100.2 tcp/80"}
