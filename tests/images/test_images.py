"""The images work where tests use them: in a node's own engine, loaded and pulled by digest."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from nodes.node import CHECKOUT, Node

from . import archive, containers, registry

COMPOSE = """
services:
  engine:
    image: {engine}
    command: [--model, /models/smoke.gguf, --host, 0.0.0.0, --port, '8080']
    volumes: [/root/models:/models:ro]
    ports: ['11434:8080']
    healthcheck: {{test: [CMD, curl, -fsS, 'http://127.0.0.1:8080/health'], interval: 1s}}
  page:
    image: {stub}
    depends_on: {{engine: {{condition: service_healthy}}}}
    ports: ['3000:3000']
    healthcheck: {{test: [CMD, wget, -q, -O, '-', 'http://127.0.0.1:3000/any'], interval: 1s}}
"""


def test_the_same_directory_is_the_same_image(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        root = tmp_path / name / "root"
        root.mkdir(parents=True)
        (root / "b").write_text("b")
        (root / "a").symlink_to("b")
        archive.write(tmp_path / name, root, "localhost/x:1", "amd64", {"Cmd": ["/b"]})
        made.append(archive.Image(tmp_path / name))
    assert made[0].digest == made[1].digest
    assert made[0].tar.read_bytes() == made[1].tar.read_bytes()


@pytest.mark.node
@pytest.mark.timeout(900)
def test_an_engine_in_a_node_runs_what_was_loaded_and_what_was_pulled(
    node: Callable[..., Node],
) -> None:
    engine, stub = containers.llama_server(), containers.web_stub(ports=[3000])
    machine = node("13", kind="docker", engine=True)
    machine.must("docker", "load", "-i", machine.copy_in(stub.tar, "/root/stub.tar"))
    pulled = pull(machine, "llama-server", engine)

    machine.copy_in(CHECKOUT / "dream_runner/catalog/smoke.gguf", "/root/models/smoke.gguf")
    text = COMPOSE.format(engine=pulled, stub=stub.reference)
    machine.must("sh", "-c", "cat > /root/compose.yml", input=text)
    machine.must("docker", "compose", "up", "-d", "--wait")

    question = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    body = json.dumps(question).encode()
    kind = {"Content-Type": "application/json"}
    asked = urllib.request.Request(
        f"http://{machine.address}:11434/v1/chat/completions", body, kind
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert json.load(answer)["choices"][0]["message"]["content"]
    with urllib.request.urlopen(f"http://{machine.address}:3000/", timeout=10) as answer:
        assert json.load(answer) == {"status": "ok"}


def pull(machine: Node, name: str, image: archive.Image, port: int = 5000) -> str:
    """Pull ``image`` by digest from a registry inside the node; return what it is called there."""
    machine.copy_in(image.tar, "/root/registry.tar")
    machine.copy_in(registry.__file__, "/root/registry.py")
    start = (
        "mkdir -p /root/layout && tar -x -C /root/layout -f /root/registry.tar"
        ' && exec systemd-run --quiet --unit=registry python3 -B /root/registry.py "$0" "$1"'
    )
    machine.must("sh", "-c", start, str(port), f"{name}=/root/layout")
    reference = f"127.0.0.1:{port}/{name}@{image.digest}"
    script = 'for i in 1 2 3 4 5 6 7 8 9; do docker pull -q "$0" && exit; sleep 0.5; done; exit 1'
    machine.must("sh", "-c", script, reference)
    return reference
