"""Scenario full: a bare Debian 13, its own docker packages, compose up, an answer from outside.

What becomes of the stack afterwards is in test_full.py, on a machine that has an engine.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nodes.node import Node

from . import stack
from .stack import Stacked
from .test_full import kill_in, succeeded

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

#: Less than everything, because test_full.py has it: what is new here is the engine.
FEATURES = tuple(word for name in ("voice", "agents", "rag") for word in (f"--{name}", "no"))


@pytest.fixture(scope="module")
def stacked(module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    """A bare node, with the rights that an engine needs, and everything to install from."""
    machine = module_node("13", engine=True)
    assert machine.run("sh", "-c", "command -v docker").code != 0
    models = stack.models(tmp_path_factory.mktemp("models"))
    ready = stack.prepare(machine, models)
    stack.have_models_of_tiers(machine, models)
    return ready


def test_killed_while_the_engine_is_installed_it_ends_in_an_answer(stacked: Stacked) -> None:
    kill_in(stacked, "docker")
    succeeded(stacked.install(*FEATURES))
    status = ("dpkg-query", "-W", "-f=${Status}", "docker.io")
    assert stacked.node.must(*status).out == "install ok installed"
    images = {item["Image"] for item in stacked.containers().values()}
    assert all("@sha256:" in image for image in images), images
    model, answer = stacked.chat()
    assert (model, bool(answer)) == ("one", True)
    assert stacked.ask("/health", port=3000) == {"status": True}


@pytest.mark.slow
def test_again_changes_nothing(stacked: Stacked) -> None:
    before = stacked.identities()
    assert succeeded(stacked.again())["tasks"]["changed"] == 0
    # Every role this time, whatever the survey says; and by Ansible without the wrapper.
    assert succeeded(stacked.again("--full"))["tasks"]["changed"] == 0
    plain = {f"dream_{name}": "no" for name in ("voice", "agents", "rag")}
    assert stack.changed(stacked.play(full=True, **plain)) == 0
    assert stacked.identities() == before


@pytest.mark.slow
def test_another_tier_by_settings_only(stacked: Stacked) -> None:
    before = stacked.identities()
    done = succeeded(stacked.again("--tier", "0", "--model", "auto"))
    assert done["summary"]["model"]["sha256"] == stacked.models["two"]
    assert stacked.chat()[0] == "qwen3.5-2b-q4"
    assert "DREAM_TIER=0\n" in stacked.node.must("cat", "/root/ai-server/.env").out
    after = stacked.identities()
    # The gateway names the model in its own file.
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"llama-server", "litellm"}
    # A later run without flags keeps the choice.
    assert succeeded(stacked.again())["tasks"]["changed"] == 0
