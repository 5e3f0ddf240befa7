"""No secret of a fleet is in any byte that its controller or its hosts write or show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.here import Watch
from e2e.watcher import scan
from nodes.podman import Podman

from .machines import PASSWORD, Lab, make

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def pair(podman: Podman, tmp_path: Path) -> Iterator[Lab]:
    """Two hosts: by key, and by passwords for the login and for sudo."""
    with contextlib.ExitStack() as stack:
        yield make(podman, stack, tmp_path, 2)


def root_of(lab: Lab, name: str) -> Path:
    """Return the filesystem of a host as this machine sees it."""
    node = lab.nodes[name]
    pid = (
        node.podman.run("inspect", "--format", "{{.State.Pid}}", node.name).stdout.decode().strip()
    )
    return Path(f"/proc/{pid}/root")


def test_no_byte_holds_a_secret(pair: Lab) -> None:
    """Processes of controller and hosts while it runs; then every file, and every journal."""
    env_files = {
        name: root_of(pair, name) / pair.install_dir(name).lstrip("/") / ".env"
        for name in pair.nodes
    }
    said = ""
    with Watch({"login": PASSWORD}, [pair.state], set()).learn_from(*env_files.values()) as watch:
        for words in (
            ("install", "--yes", "--accept-new-host-keys", "--api-key", "yes"),
            ("install", "--full", "--yes", "--api-key", "yes"),
        ):
            done = pair.run(*words, "--json")
            assert done.code == 0, str(done)
            said += str(done)
        for verb in ("status", "exec-doctor"):
            said += str(pair.run(verb, "--json"))
    words = watch.words
    assert watch.looks > 50
    for path in env_files.values():
        assert f"ENGINE_API_KEY of {path}" in words
    assert watch.found == set()
    assert [name for name, word in words.items() if word in said] == []
    # Where they must be: the inventory that the test wrote, and the files of the secrets.
    kept = {str(pair.inventory), *map(str, env_files.values())}
    kept |= {f"{path}.bak" for path in env_files.values()}
    found, _ = scan([str(pair.directory)], words)
    for name in pair.nodes:
        root = root_of(pair, name)
        skip = [str(root / part) for part in ("proc", "sys", "dev")]
        more, size = scan([str(root)], words, skip)
        assert size > 100_000_000
        found += more
        journal = (
            pair.nodes[name]
            .must(*("journalctl", "--no-pager", "--all", "--output=export"), user="root")
            .out
        )
        assert "sshd" in journal
        assert [word for word in words if words[word] in journal] == []
    assert [line for line in found if line.rpartition(" in ")[2] not in kept] == []
