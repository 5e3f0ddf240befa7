"""All wheels of a lock in one directory: from an index or a bundle, resumed after a kill."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import HASTY, ROOT
from fixtures.package_index import PackageIndex

from dream_runner.module_utils.dream_core.errors import DreamError, IntegrityError, NetworkError
from dream_runner.module_utils.dream_core.fetch import wheelhouse
from dream_runner.module_utils.dream_core.fetch.request import Network, Progress
from dream_runner.module_utils.dream_core.fetch.wheel_lock import Wheel

SIZES = {"alpha": 3_000_000, "beta_two": 200_000, "gamma": 40_000, "delta": 10}


def file_of(name: str) -> str:
    return f"{name}-1.0-py3-none-any.whl"


CONTENT = {file_of(name): random.Random(name).randbytes(size) for name, size in SIZES.items()}
WHEELS = [
    Wheel(name, hashlib.sha256(content).hexdigest(), len(content), ["3.11-amd64"])
    for name, content in CONTENT.items()
]
TOTAL = sum(SIZES.values())


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    served = PackageIndex(dict(CONTENT), projects=("alpha", "beta-two", "gamma", "delta"))
    with served:
        yield served


def places(index: PackageIndex | None = None, **more: Any) -> wheelhouse.Places:
    told = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url if index else "http://x"}
    return wheelhouse.Places(Network.from_environment(told), HASTY, **more)


def silent(_: Progress) -> None:
    pass


def test_every_wheel_is_fetched_once_and_verified(index: PackageIndex, tmp_path: Path) -> None:
    said: list[Progress] = []
    done = wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), places(index), said.append)
    assert done == wheelhouse.Fetched(TOTAL, 0)
    for name, content in CONTENT.items():
        assert (tmp_path / "w" / name).read_bytes() == content
    assert {item.total for item in said} == {TOTAL}
    assert said[-1].done == TOTAL
    assert wheelhouse.present_bytes(WHEELS, str(tmp_path / "w")) == TOTAL
    before = index.sent()
    again = wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), places(index), silent)
    assert again == wheelhouse.Fetched(0, TOTAL)
    assert index.sent() == before


def test_what_another_list_left_goes_and_what_is_shared_stays(
    index: PackageIndex, tmp_path: Path
) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "old-1.0-py3-none-any.whl").write_bytes(b"old")
    wheelhouse.fetch_all(WHEELS[3:], str(folder), places(index), silent, is_shared=True)
    assert (folder / "old-1.0-py3-none-any.whl").exists()
    wheelhouse.fetch_all(WHEELS[3:], str(folder), places(index), silent)
    assert not (folder / "old-1.0-py3-none-any.whl").exists()
    assert (folder / file_of("delta")).exists()
    assert wheelhouse.remove_all(str(folder))
    assert not wheelhouse.remove_all(str(folder))


def test_a_bundle_needs_no_index(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name, content in CONTENT.items():
        (bundle / name).write_bytes(content)
    here = places(directory=str(bundle))
    assert wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), here, silent).fetched == TOTAL
    (bundle / file_of("gamma")).unlink()
    wheelhouse.remove_all(str(tmp_path / "w"))
    with pytest.raises(DreamError):
        wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), here, silent)


def test_an_index_with_another_file_is_refused(index: PackageIndex, tmp_path: Path) -> None:
    index.files[file_of("gamma")] = b"another"
    with pytest.raises(IntegrityError) as caught:
        wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), places(index), silent)
    assert caught.value.code == "CATALOGUE_STALE"
    assert "has another sha256" in caught.value.what
    assert not (tmp_path / "w" / file_of("gamma")).exists()


def test_bytes_that_differ_from_a_silent_index_are_refused(
    index: PackageIndex, tmp_path: Path
) -> None:
    index.states_digest = False
    index.files[file_of("gamma")] = bytes(SIZES["gamma"])
    with pytest.raises(IntegrityError):
        wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), places(index), silent)
    assert not (tmp_path / "w" / file_of("gamma")).exists()


def test_an_unknown_package_is_named(index: PackageIndex, tmp_path: Path) -> None:
    index.projects = ("alpha", "beta-two", "gamma")
    with pytest.raises(NetworkError) as caught:
        wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), places(index), silent)
    assert "delta 1.0" in caught.value.what


FETCH = """
import json, os, sys
sys.path.insert(0, {root!r})
from dream_runner.module_utils.dream_core.fetch import wheelhouse
from dream_runner.module_utils.dream_core.fetch.request import Network
from dream_runner.module_utils.dream_core.fetch.wheel_lock import Wheel
wheels = [Wheel(*row) for row in json.loads({wheels!r})]
network = Network.from_environment({{"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": {url!r}}})
wheelhouse.fetch_all(wheels, {folder!r}, wheelhouse.Places(network), lambda progress: None)
"""


def test_a_kill_costs_no_finished_wheel(index: PackageIndex, tmp_path: Path) -> None:
    """The partial one goes on at its byte, too: what comes twice is less than a block."""
    index.rate = 1_000_000
    program = FETCH.format(
        root=str(ROOT), wheels=json.dumps(WHEELS), url=index.url, folder=str(tmp_path / "w")
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 60
        while wheelhouse.present_bytes(WHEELS, str(tmp_path / "w")) < TOTAL // 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    here = wheelhouse.present_bytes(WHEELS, str(tmp_path / "w"))
    whole = [wheel for wheel in WHEELS if (tmp_path / "w" / wheel.file).exists()]
    assert {wheel.name for wheel in whole} == {"beta-two", "gamma", "delta"}
    index.rate, before = 0, index.sent()
    done = wheelhouse.fetch_all(WHEELS, str(tmp_path / "w"), places(index), silent)
    assert done.reused == sum(wheel.size_bytes for wheel in whole)
    assert index.sent() - before <= TOTAL - here + 1024 * 1024
    for name, content in CONTENT.items():
        assert (tmp_path / "w" / name).read_bytes() == content
