"""One fleet of nodes for all tests of this directory: starting them is the dear part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes.podman import Podman

from .machines import Lab, make

#: DREAM_TEST_FLEET=20 is what a release needs; the default is for every change.
SIZE = int(os.environ.get("DREAM_TEST_FLEET", "4"))


@pytest.fixture(scope="session")
def lab(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory: Path = tmp_path_factory.mktemp("fleet")
    with contextlib.ExitStack() as stack:
        yield make(podman, stack, directory, SIZE)
