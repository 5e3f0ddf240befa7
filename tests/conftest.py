"""Fixtures and rules that every layer shares."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nodes.node import Node
from nodes.node import node as started_node
from nodes.podman import Podman, missing_tools

# A background job of a shell starts with Ctrl-C ignored, and so would every program under test.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Nor may the terminal that the tests were started from matter: they draw on terminals of their own.
os.environ["TERM"] = "xterm-256color"
for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"):
    os.environ.pop(name, None)

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
SLOW = os.environ.get("DREAM_TEST_SLOW") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not SLOW:
            item.add_marker(pytest.mark.skip(reason="takes minutes; set DREAM_TEST_SLOW=1"))


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """A podman that can run nodes; missing rights skip on a desk and fail in CI."""
    missing = missing_tools()
    why = (
        "needs root" if os.geteuid() else f"apt-get install {' '.join(missing)}" if missing else ""
    )
    if why and IN_CI:
        pytest.fail(f"node tests cannot run in CI: {why}")
    if why:
        pytest.skip(f"node tests: {why}")
    engine = Podman()
    yield engine
    engine.close()


@pytest.fixture
def node(podman: Podman) -> Iterator[Callable[..., Node]]:
    """``node(release, systemd=True, user="root")`` starts a bare node for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(started_node(podman, *args, **options))


@pytest.fixture(scope="module")
def module_node(podman: Podman) -> Iterator[Callable[..., Node]]:
    """Like ``node``, for the whole module."""
    with contextlib.ExitStack() as stack:

        def start(*args: Any, **options: Any) -> Node:
            return stack.enter_context(started_node(podman, *args, **options))

        yield start
