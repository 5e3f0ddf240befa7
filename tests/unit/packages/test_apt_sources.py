"""A broken package source is named with its file, and stops nothing that others have."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dream_runner import paths
from dream_runner.module_utils.dream_core.errors import RequirementError
from dream_runner.module_utils.dream_core.packages.apt_sources import (
    REASONS,
    broken,
    failure,
    warning,
)

UNSIGNED = "E: The repository 'file:/srv/badrepo stable Release' is not signed.\n"
ROTATED = (
    "W: GPG error: https://ada:pw@gpu.example/deb stable InRelease: The following signatures "
    "couldn't be verified because the public key is not available: NO_PUBKEY A4B469963BF863CC\n"
    "E: The repository 'https://ada:pw@gpu.example/deb stable InRelease' is not signed.\n"
)
GONE = "E: The repository 'http://old.example/ppa bookworm Release' does not have a Release file.\n"
DOWN = (
    "W: Failed to fetch http://deb.example/debian/dists/trixie/InRelease  Could not resolve "
    "'deb.example'\n"
)
TYPO = "E: Malformed entry 1 in list file /etc/apt/sources.list.d/typo.list (Suite)\n"


@pytest.fixture
def root(tmp_path: Path) -> str:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "vendor-gpu.list").write_text("deb file:/srv/badrepo stable main\n")
    (folder / "cuda.sources").write_text("Types: deb\nURIs: https://ada:pw@gpu.example/deb/\n")
    (tmp_path / "sources.list").write_text("deb http://deb.example/debian trixie main\n")
    (folder / "binary.list").write_bytes(b"\xff\xfe")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("output", "file", "reason", "permanent"),
    [
        (UNSIGNED, "sources.list.d/vendor-gpu.list", "it is not signed", True),
        (ROTATED, "sources.list.d/cuda.sources", "its key is missing", True),
        (GONE, "", "it has no Release file", True),
        (DOWN, "sources.list", "it cannot be reached", False),
    ],
)
def test_named_once_with_file_and_reason(
    root: str, output: str, file: str, reason: str, permanent: bool
) -> None:
    (found,) = broken(output, root)
    assert (found.reason, found.permanent) == (reason, permanent)
    assert found.file == (f"{root}/{file}" if file else "")
    assert reason in warning(found)
    assert "pw" not in warning(found)


def test_what_stops_the_installation_names_the_file(root: str) -> None:
    error = failure(broken(UNSIGNED + DOWN, root))
    assert isinstance(error, RequirementError)
    assert (error.code, error.exit_code) == ("PACKAGE_SOURCE_BROKEN", 3)
    assert "vendor-gpu.list" in error.hint
    # What waiting mends is the network's, and told as such.
    assert failure(broken(DOWN, root)) is None
    assert broken("Reading package lists...\n", root) == []


def test_an_entry_that_apt_cannot_read_is_named_by_apt(root: str) -> None:
    (found,) = broken(TYPO, root)
    assert found.file == "/etc/apt/sources.list.d/typo.list"
    assert found.permanent


def test_a_password_with_a_slash_is_not_shown(root: str) -> None:
    (found,) = broken(ROTATED.replace("ada:pw@", "ada:p/w@x@"), root)
    assert " https://***@gpu.example/deb: " in warning(found)


def test_the_role_waits_for_nothing_that_is_permanent() -> None:
    """The role's retry has the same messages of apt, as a regular expression."""
    variables = yaml.safe_load((paths.content() / "roles/requirements/vars/main.yml").read_text())
    assert set(variables["__requirements_permanent"].split("|")) == {mark for mark, _ in REASONS}
