"""The plain command ends with a page in the browser in which a real model answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from nodes.node import Node

from .chat_page import ask, enter_key, opened, require_chromium, take_picture
from .here import Here, here

pytestmark = pytest.mark.timeout(900)

#: No test asks the model hub: to this program it is a port that refuses.
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:1"}
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Here, str]]:
    """A HOME after the plain command, and what that said."""
    require_chromium()
    with here(tmp_path_factory.mktemp("plain") / "home", environment=NO_HUB) as place:
        words = ("--install-dir", str(place.dream), "--engine-port", str(place.port))
        done = place.run("install", "--yes", *words)
        assert done.code == 0, str(done)
        yield place, done.out + done.err


def test_the_address_on_the_screen_opens_a_page_that_answers(
    plain: tuple[Here, str], tmp_path: Path
) -> None:
    _, said = plain
    address = re.search(r"Chat in your browser +(http\S+)", said)
    assert address, said
    with opened(address.group(1)) as page:
        assert "Paris" in ask(page, QUESTION)
        take_picture(page, tmp_path / "chat.png")
    assert (tmp_path / "chat.png").stat().st_size > 5000


def test_the_hub_is_out_of_reach_and_the_small_model_is_ready(plain: tuple[Here, str]) -> None:
    place, said = plain
    assert "smollm2-135m-q4" in said
    status = place.run("status", "--json")
    assert status.code == 0, str(status)
    found = status.json()
    assert found["state"] == "ready"
    assert found["upgrade"]["until"] == "smollm2-135m-q4"
    assert found["upgrade"]["why"], found["upgrade"]


def test_the_second_run_changes_nothing(plain: tuple[Here, str]) -> None:
    place, _ = plain
    again = place.run("install", "--yes", "--json")
    assert again.code == 0, str(again)
    assert again.json()["tasks"]["changed"] == 0


@pytest.mark.node
@pytest.mark.slow
def test_another_computer_needs_the_key(node: Callable[..., Node]) -> None:
    """A bare machine in the LAN; the browser runs on another one, which is this one."""
    require_chromium()
    machine = node("13", systemd=True, user="root")
    machine.copy_checkout()
    done = machine.install("--yes", "--model", "small", "--lan", "--api-key", "yes")
    assert done.code == 0, str(done)
    said = done.out + done.err
    assert "WITHOUT A PASSWORD" not in said
    address = f"http://{machine.address}:11434/"
    assert address in said
    key = machine.must("sh", "-c", "sed -n s/^ENGINE_API_KEY=//p /root/ai-server/.env").out.strip()
    assert key
    assert key not in said
    question = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 8}
    refused = requests.post(f"{address}v1/chat/completions", json=question, timeout=60)
    assert refused.status_code == 401
    with opened(address) as page:
        enter_key(page, key)
        assert "Paris" in ask(page, QUESTION)
