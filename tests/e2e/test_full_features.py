"""Every feature of the full profile, on a machine where nothing but ``--profile full`` is typed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from nodes.node import Node

from . import stack
from .stack import Stacked
from .test_full import CONTEXT, READY, ready, succeeded

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def stacked(module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    """A node with an engine, whose catalogue names files that can be had."""
    models = stack.models(tmp_path_factory.mktemp("models"))
    machine = module_node("13", kind="docker", engine=True)
    found = stack.prepare(machine, models)
    stack.have_models_of_tiers(machine, models)
    return found


def test_what_is_offered_is_ready(stacked: Stacked) -> None:
    done = stacked.node.install("--profile", "full", "--yes")
    assert done.code == 0, str(done)
    # The model of a machine without a GPU has less context than the agent needs; the plan says so.
    offered = " ".join(name for name in READY if name != "agent")
    assert re.search(rf"^ *Ready +{offered}$", done.out, re.MULTILINE), str(done)
    assert "Not working" not in done.out
    assert "Not tested" not in done.out
    assert "agents" in stacked.node.runner("plan").out
    assert succeeded(stacked.again())["tasks"]["changed"] == 0
    assert succeeded(stacked.again("--full"))["tasks"]["changed"] == 0


def test_the_agent_is_ready_where_the_context_is_long_enough(stacked: Stacked) -> None:
    assert ready(succeeded(stacked.again(*CONTEXT))) == READY
    assert succeeded(stacked.again())["tasks"]["changed"] == 0


def found_by_doctor(node: Node) -> dict[str, str]:
    """Return what ``doctor --deep`` finds of the features, by severity."""
    deep = node.runner("doctor", "--deep", "--json", timeout=300).json()
    found = [item for item in deep["findings"] if item["id"] == "features"]
    return {item["severity"]: item["evidence"] for item in found}


#: What a feature cannot do without, and the reason that its probe then gives.
NEEDED = {
    "embeddings": ("documents", "http://embeddings:80/v1"),
    "searxng": ("search", "http://searxng:8080/search"),
    "whisper": ("voice", "http://whisper:8000/v1"),
    "hermes": ("agent", "does not offer the model hermes-agent"),
}


@pytest.mark.parametrize("service", NEEDED)
def test_a_service_that_stopped_is_felt_by_its_feature(stacked: Stacked, service: str) -> None:
    feature, reason = NEEDED[service]
    assert found_by_doctor(stacked.node) == {"ok": f"ready: {' '.join(READY)}"}
    stacked.node.must("docker", "stop", "-t", "5", f"dream-runner-{service}-1")
    found = found_by_doctor(stacked.node)
    rest = " ".join(name for name in READY if name != feature)
    assert found == {"ok": f"ready: {rest}", "error": found["error"]}
    assert found["error"].startswith(f"{feature} failed: ")
    assert reason in found["error"]
    # The next install starts it again.
    assert ready(succeeded(stacked.again())) == READY


def test_a_person_s_key_reaches_both_sides(stacked: Stacked) -> None:
    """The chat and the vector database share a key; one that a person writes is used by both."""
    script = "sed -i 's/^QDRANT_API_KEY=.*/QDRANT_API_KEY=of-a-person/' /root/ai-server/.env"
    stacked.node.must("sh", "-c", script)
    before = stacked.identities()
    assert ready(succeeded(stacked.again())) == READY
    after = stacked.identities()
    assert {name for name in after if after[name] != before[name]} == {"open-webui", "qdrant"}
