"""From a bundle, where there is no network at all; and nothing reaches for one that is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nodes.node import Node

from . import stack
from .here import Here, here, kill

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root"),
]

#: A network namespace with nothing in it but this machine itself.
NO_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One that was killed while it was made, and made by the same command again."""
    place = Here(tmp_path_factory.mktemp("maker") / "home")
    target = tmp_path_factory.mktemp("bundle") / "b"
    command = ("bundle", "create", str(target), "--profile", "native", "--model", "smoke", "--json")
    run = place.start(*command)
    stack.wait_for(lambda: any(target.glob("wheels/*.whl")), seconds=600, pause=0.05)
    kill(run)
    there = {path: path.stat().st_ino for path in target.rglob("*") if path.is_file()}
    assert not (target / "SHA256SUMS").exists()
    refused = place.run("bundle", "verify", str(target), "--json")
    assert refused.code == 7, str(refused)
    done = place.run(*command)
    assert done.code == 0, str(done)
    kept = {path for path, inode in there.items() if path.exists() and path.stat().st_ino == inode}
    assert {path.parent.name for path in kept} >= {"wheels", "sha256"}
    yield target
    shutil.rmtree(target)


def test_the_bundle_is_whole_and_made_only_once(bundle: Path) -> None:
    command = ["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"]
    assert subprocess.run(command, cwd=bundle).returncode == 0
    inodes = {path.name: path.stat().st_ino for path in (bundle / "wheels").iterdir()}
    assert any(name.startswith("xllamacpp-") for name in inodes)
    place = Here(bundle.parent / "home")
    again = place.run(
        "bundle", "create", str(bundle), "--profile", "native", "--model", "smoke", "--json"
    )
    assert again.code == 0, str(again)
    assert inodes == {path.name: path.stat().st_ino for path in (bundle / "wheels").iterdir()}


def test_install_without_a_network(bundle: Path, tmp_path: Path) -> None:
    with here(tmp_path / "home") as place:
        offline = ("--offline", "--bundle", str(bundle))
        done = place.install(*offline, prefix=NO_NETWORK)
        assert done.code == 0, str(done)
        marker = place.dream / ".offline-mode"
        engine = place.dream / "engine" / "dream_engine.py"
        assert marker.is_file()
        assert engine.is_file()
        proved = json.loads((place.state / "receipts" / "offline.json").read_text())["facts"]
        assert len(proved["proved"]) == 2
        # With a network there, and something missing: nobody gets out, and who tried is named.
        place.end()
        packages = next((place.dream / "engine" / "venv").glob("lib/python*/site-packages"))
        shutil.rmtree(packages / "supervisor")
        refused = place.install("--bundle", "")
        assert refused.code == 5, str(refused)
        error = refused.json()["error"]
        assert error["code"] == "OFFLINE_NETWORK"
        assert "pip" in error["what"]
        # With the bundle it is mended.
        done = place.install(*offline, prefix=NO_NETWORK)
        assert done.code == 0, str(done)


def test_what_is_missing_is_named_before_anything_is_fetched(bundle: Path, tmp_path: Path) -> None:
    with here(tmp_path / "home") as place:
        done = place.install("--offline")
        assert done.code == 3, str(done)
        assert done.json()["error"]["code"] == "OFFLINE_ARTEFACT_MISSING"
        assert "engine" in done.json()["error"]["what"]
        assert not (place.dream / ".offline-mode").exists()
        bad = tmp_path / "bad"
        shutil.copytree(bundle, bad)
        (bad / "extra").symlink_to("/etc/passwd")
        done = place.install("--offline", "--bundle", str(bad))
        assert done.code == 7, str(done)
        assert done.json()["error"]["code"] == "BUNDLE_BROKEN"


@pytest.mark.node
@pytest.mark.slow
def test_a_bare_machine_gets_its_packages_from_the_bundle(
    bundle: Path, node: Callable[..., Node]
) -> None:
    """Only what is missing, without a source of packages; nobody asks an archive."""
    if not list((bundle / "debs").glob("libgomp1_*+deb12*.deb")):
        pytest.skip("the bundle's packages are of the Debian that made it, and the node is a 12")
    machine = node("12", systemd=True, user="root")
    machine.copy_checkout()
    there = machine.copy_tree(bundle, "/opt/bundle")
    assert machine.run("dpkg", "--status", "libgomp1").code != 0
    # No model is named: the best one of the bundle is taken, here the small one.
    options = (
        "--yes",
        "--offline",
        "--bundle",
        there,
        "--json",
    )
    done = machine.install(*options)
    assert done.code == 0, str(done)
    assert "installed" in machine.must("dpkg", "--status", "libgomp1").out
    said = machine.must("grep", "^Commandline", "/var/log/apt/history.log").out.splitlines()
    ours = [line for line in said if "libgomp1" in line]
    assert len(ours) == 1, said
    assert "SourceList=/dev/null" in ours[0]
    # The bundle has more; who has venv already gets nothing of it again.
    assert "python3-venv" not in ours[0]
