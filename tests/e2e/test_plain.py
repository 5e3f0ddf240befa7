"""The wrapper and Ansible by itself leave the same machine behind: from bare, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from nodes.node import Node

from . import stack
from .test_full_debian12 import ENVIRONMENT

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1500)]

FEATURES = ("voice", "agents", "rag")


def test_the_same_end_state(
    module_node: Callable[..., Node], tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = stack.models(tmp_path_factory.mktemp("models"))
    wrapped, plain = (stack.prepare(module_node("13", engine=True), models) for _ in range(2))
    done = wrapped.install(*(word for name in FEATURES for word in (f"--{name}", "no")))
    assert done.code == 0, str(done)
    plain.node.must("sh", "-ec", ENVIRONMENT, cwd=plain.node.checkout)
    plain = replace(plain, venv="/root/ansible")
    plain.play(**{f"dream_{name}": "no" for name in FEATURES})
    assert plain.chat()[1]
    assert stack.differences(stack.state_of(wrapped), stack.state_of(plain)) == []
