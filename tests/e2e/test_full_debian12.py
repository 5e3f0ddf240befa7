"""Scenario full-debian12: a bare Debian 12, Docker's own repository, Ansible without the wrapper.

Debian 12 has no compose 2, so that the engine comes from a signed repository, which the tests build
and the node serves to itself. The wrapper, run afterwards, has to find the same end state.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from images import apt_repository
from nodes.node import Node

from . import stack
from .stack import Stacked

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1200)]

PORT = 8099
#: Ansible as somebody has it who never heard of install.sh; its plugins import the package.
ENVIRONMENT = """
apt-get -qq update && apt-get -qq -y install python3-venv
python3 -m venv /root/ansible
/root/ansible/bin/pip install -qq --require-hashes --only-binary :all: -r requirements.lock
/root/ansible/bin/pip install -qq --no-deps --no-build-isolation .
"""
#: Less than everything, because the other scenario has it: what is new here is the engine.
FEATURES = {f"dream_{name}": "no" for name in ("voice", "agents", "rag")}


@pytest.fixture(scope="module")
def stacked(module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    """A bare node with everything to install from, and Ansible, but no docker."""
    machine = module_node("12", engine=True)
    assert machine.run("sh", "-c", "command -v docker").code != 0
    found = stack.prepare(machine, stack.models(tmp_path_factory.mktemp("models")))
    machine.copy_tree(apt_repository.docker(), "/srv/repository")
    server = ["python3", "-B", "-m", "http.server", str(PORT), "--bind", "127.0.0.1"]
    stack.unit(machine, "test-repository", [*server, "--directory", "/srv/repository"])
    machine.must("sh", "-ec", ENVIRONMENT, cwd=machine.checkout)
    return replace(found, venv="/root/ansible")


def repository() -> dict[str, Any]:
    """Return what a site with a mirror of its own says to the role."""
    url = f"http://127.0.0.1:{PORT}/linux/{{system}}"
    key = (apt_repository.docker() / "fingerprint").read_text().strip()
    return {"docker_repository": {"apt": {"url": url, "key": url + "/gpg", "fingerprint": key}}}


def test_the_playbook_that_is_killed_half_way_ends_in_an_answer(stacked: Stacked) -> None:
    node = stacked.node
    words = stacked.playbook(**FEATURES, **repository())
    script = 'echo $$ > /root/pid; exec "$@" > /root/out 2>&1'
    node.podman.run(
        *("exec", "-d", "--env", "HOME=/root", "--workdir", node.checkout, node.name),
        *("sh", "-c", script, "sh", *words),
    )
    stack.wait_for(lambda: began(stacked, "images") or not is_alive(node), seconds=400)
    assert is_alive(node), node.run("cat", "/root/out").out
    node.must("sh", "-c", "kill -9 $(cat /root/pid)")
    # Nobody holds their life line here: what was begun goes on to its end.
    stack.wait_for(lambda: not any("ansible" in line for line in node.processes()), seconds=120)
    stacked.play(**FEATURES, **repository())
    model, answer = stacked.chat()
    assert (model, bool(answer)) == ("one", True)
    assert stacked.ask("/health", port=3000) == {"status": True}


def is_alive(node: Node) -> bool:
    return node.run("sh", "-c", "kill -0 $(cat /root/pid)").code == 0


def began(stacked: Stacked, phase: str) -> bool:
    said = stacked.node.run("cat", f"{stack.STATE}/receipts/{phase}.json")
    return said.code == 0 and json.loads(said.out)["state"] in ("running", "done")


def test_the_engine_is_docker_s_own(stacked: Stacked) -> None:
    shown = stacked.node.must("apt-cache", "policy", "docker-ce").out
    assert f"127.0.0.1:{PORT}/linux/debian bookworm/stable" in shown
    assert stacked.node.run("dpkg-query", "-W", "docker.io").code != 0


def test_again_changes_nothing(stacked: Stacked) -> None:
    before = stacked.identities()
    assert stack.changed(stacked.play(**FEATURES, **repository())) == 0
    assert stack.changed(stacked.play(full=True, **FEATURES, **repository())) == 0
    assert stacked.identities() == before


def test_the_wrapper_finds_the_same_end_state(stacked: Stacked) -> None:
    before, state = stacked.identities(), stack.state_of(stacked)
    features = [word for name in FEATURES for word in (f"--{name[len('dream_') :]}", "no")]
    done = stacked.install("--full", *features)
    assert done.code == 0, str(done)
    assert done.json()["tasks"]["changed"] == 0, str(done)
    assert stacked.identities() == before
    assert stack.differences(stack.state_of(stacked), state) == []
