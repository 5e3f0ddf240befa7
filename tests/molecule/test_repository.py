"""A package repository that is not what was pinned is refused, and leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from images import apt_repository
from nodes.node import CHECKOUT, Node, Result

from dream_runner.module_utils.dream_core.containers import engine_source

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

URL = "http://127.0.0.1:8099/linux/{system}"
INRELEASE = "/srv/repository/linux/debian/dists/bookworm/InRelease"
PACKAGES = "/srv/repository/linux/debian/dists/bookworm/stable/binary-amd64/Packages"

#: What the module runs, without Ansible, by the node's own Python.
PROVIDE = """
import json, os, sys
sys.path.insert(0, "/srv/core")
from dream_core import errors
from dream_core.packages import repository
try:
    print(json.dumps({"files": repository.provide(json.load(sys.stdin), dict(os.environ), True)}))
except errors.DreamError as error:
    print(json.dumps(error.to_dict()))
"""


class Host:
    """A bare Debian 12 that serves the repository to itself."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.source = apt_repository.docker()
        core = CHECKOUT / "dream_runner/module_utils/dream_core"
        node.copy_tree(core, "/srv/core/dream_core", exclude="__pycache__")
        self.serve()
        command = ["systemd-run", "--quiet", "python3", "-m", "http.server", "8099"]
        node.must(*command, "--bind", "127.0.0.1", "--directory", "/srv/repository")
        wait = "until (</dev/tcp/127.0.0.1/8099) 2>/dev/null; do sleep 0.2; done"
        node.must("timeout", "20", "bash", "-c", wait)

    def serve(self) -> None:
        """Serve what the publisher offers, without the packages themselves."""
        self.node.copy_tree(self.source, "/srv/repository", exclude="./linux/debian/pool")

    def wanted(self, fingerprint: str = "") -> dict[str, Any]:
        pinned = fingerprint or (self.source / "fingerprint").read_text().strip()
        offers = {"apt": {"url": URL, "key": URL + "/gpg", "fingerprint": pinned}}
        system = {"family": "debian", "id": "debian", "version_id": "12"}
        return engine_source.repository("docker", offers, system, "amd64")

    def provide(self, fingerprint: str = "") -> dict[str, Any]:
        text = json.dumps(self.wanted(fingerprint))
        result: Result = self.node.must("python3", "-B", "-c", PROVIDE, input=text)
        answer: dict[str, Any] = result.json()
        return answer

    def apt_files(self) -> dict[str, str]:
        listing = self.node.listing("/etc/apt")
        return {path: text for path, text in listing.items() if not text.startswith("d")}


@pytest.fixture(scope="module")
def host(module_node: Callable[..., Node]) -> Host:
    return Host(module_node("12"))


@pytest.fixture
def bare(host: Host) -> Host:
    """The host with an honest publisher and nothing added yet."""
    host.serve()
    remove = "rm -f /etc/apt/keyrings/dream-* /etc/apt/sources.list.d/dream-*"
    host.node.must("sh", "-c", remove + "; rm -rf /var/lib/apt/lists/*8099*")
    return host


def refused(host: Host, code: str, fingerprint: str = "") -> str:
    """Expect this error, and that the host is as it was; return the message."""
    before = host.apt_files()
    error = host.provide(fingerprint)
    assert error.get("code") == code, error
    assert host.apt_files() == before
    return str(error["what"])


def test_the_signed_one_is_added_and_a_second_time_nothing_changes(bare: Host) -> None:
    assert len(bare.provide()["files"]) == 2
    assert bare.provide()["files"] == []
    bare.node.must("apt-get", "-q", "update")
    shown = bare.node.must("apt-cache", "policy", "docker-ce").out
    assert "127.0.0.1:8099" in shown


def test_another_key_than_the_pinned_one(bare: Host) -> None:
    assert "is not the pinned" in refused(bare, "REPOSITORY_KEY", fingerprint="A" * 40)


def test_a_second_key_beside_the_pinned_one(bare: Host, tmp_path: Path) -> None:
    # Whoever adds a key to the file could sign from then on.
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    apt_repository._make_key(home, tmp_path / "foreign")
    both = (bare.source / "linux/debian/gpg").read_text() + (tmp_path / "foreign").read_text()
    bare.node.must("sh", "-c", "cat > /srv/repository/linux/debian/gpg", input=both)
    refused(bare, "REPOSITORY_KEY")


def test_a_page_in_place_of_the_key(bare: Host) -> None:
    bare.node.must("sh", "-c", "echo '<html>login</html>' > /srv/repository/linux/debian/gpg")
    refused(bare, "REPOSITORY_KEY")


def test_no_key_at_all(bare: Host) -> None:
    bare.node.must("rm", "/srv/repository/linux/debian/gpg")
    refused(bare, "HTTP_NOT_FOUND")


def test_lists_that_were_altered_after_signing(bare: Host) -> None:
    bare.node.must("sed", "-i", "s/^SHA256: ./SHA256: 0/", PACKAGES)
    bare.node.must("rm", PACKAGES + ".gz")
    refused(bare, "REPOSITORY_UNTRUSTED")


def test_a_signature_that_does_not_fit(bare: Host) -> None:
    bare.node.must("sed", "-i", "s/^Suite: .*/Suite: other/", INRELEASE)
    refused(bare, "REPOSITORY_UNTRUSTED")


def test_an_unsigned_one(bare: Host) -> None:
    unsign = 'sed -n "/^Suite/,/^-----BEGIN/p" "$0" | grep -v ^----- > "${0%/*}/Release"; rm "$0"'
    bare.node.must("sh", "-c", unsign, INRELEASE)
    refused(bare, "REPOSITORY_UNTRUSTED")


def test_one_without_any_signed_list(bare: Host) -> None:
    bare.node.must("rm", INRELEASE)
    refused(bare, "REPOSITORY_UNTRUSTED")
