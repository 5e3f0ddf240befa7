"""What preflight says about hosts of every kind, and what becomes of the findings."""

from __future__ import annotations

from typing import Any

import pytest

from dream_runner.module_utils.dream_core.checks import preflight
from dream_runner.module_utils.dream_core.checks.finding import error_of
from dream_runner.module_utils.dream_core.checks.preflight import check, foreign_entries

GOOD_HOST = {"os": {"family": "debian", "kernel": "6.1.0-18-amd64"}, "arch": "amd64"}
USER = {"user": "ada", "home": "/home/ada", "is_root": False, "sudo": "none"}
PLACE = {
    "path": "/home/ada/dream-runner",
    "existing": "/home/ada",
    "mount": "/",
    "fstype": "ext4",
    "read_only": False,
    "is_directory": True,
    "writable": True,
}


def look(
    host: dict | None = None,
    place: dict | None = None,
    settings: dict | None = None,
    session: dict | None = None,
    receipts: dict | None = None,
    **probes: Any,
) -> list:
    return check(
        {"profile": "native", **(settings or {})},
        {**GOOD_HOST, **(host or {})},
        {**USER, **(session or {})},
        receipts or {},
        {"install_dir": {**PLACE, **(place or {})}, "now": 1790000000, **probes},
    )


def test_a_good_host_has_no_findings() -> None:
    assert look() == []


CASES = [
    ({"host": {"arch": "unknown"}}, "architecture", "blocker", 3),
    ({"host": {"os": {"family": "alpine"}}}, "os", "blocker", 3),
    ({"host": {"os": {"family": "unknown"}}}, "os", "warning", 0),
    (
        {"host": {"os": {"family": "debian", "kernel": "4.4.0-19041-Microsoft"}}},
        "kernel",
        "blocker",
        3,
    ),
    ({"now": 0}, "clock", "blocker", 3),
    ({"now": 0, "settings": {"offline": True}}, "clock", "warning", 0),
    ({"place": {"read_only": True, "writable": False}}, "install-dir", "blocker", 6),
    ({"place": {"writable": False}}, "install-dir", "blocker", 4),
    ({"place": {"is_directory": False}}, "install-dir", "blocker", 2),
    ({"place": {"path": "/home/ada"}}, "install-dir", "blocker", 2),
    ({"place": {"path": "/usr"}}, "install-dir", "blocker", 2),
    ({"place": {"fstype": "exfat"}}, "filesystem", "blocker", 3),
    ({"place": {"fstype": "9p"}}, "filesystem", "blocker", 3),
    ({"place": {"fstype": "nfs4"}}, "filesystem", "warning", 0),
    ({"place": {"fstype": "fuse.x"}, "semantics": {"chmod": False}}, "filesystem", "blocker", 3),
    ({"place": {"noexec": True}}, "filesystem", "blocker", 3),
    ({"place": {"fstype": "fuse.x"}, "semantics": {"socket": False}}, "filesystem", "blocker", 3),
    ({"place": {"fstype": "fuse.x"}, "semantics": {"lock": False}}, "filesystem", "warning", 0),
    ({"entries": ["thesis.tex"]}, "existing-install", "blocker", 3),
    ({"entries": ["x"], "settings": {"force": True}}, "existing-install", "warning", 0),
    ({"old_install": "/home/ada/dream-server"}, "old-install", "warning", 0),
]


@pytest.mark.parametrize(("given", "id_", "severity", "exit_code"), CASES)
def test_a_bad_host_has_exactly_this_finding(
    given: dict, id_: str, severity: str, exit_code: int
) -> None:
    findings = look(**given)
    assert [(f["id"], f["severity"]) for f in findings] == [(id_, severity)]
    error = error_of(findings)
    assert (error.exit_code if error else 0) == exit_code
    # Every blocker can be accepted by its id.
    assert error_of(findings, [id_]) is None


def test_the_full_profile_is_content_with_a_usable_engine_or_sudo() -> None:
    def ids(**given: Any) -> list[str]:
        return [item["id"] for item in look(settings={"profile": "full"}, **given)]

    assert ids() == ["privilege"]
    assert ids(docker_usable=True) == ids(session={"sudo": "password"}) == []


def test_all_are_said_at_once_and_the_first_decides() -> None:
    findings = look(host={"arch": "mips"}, place={"writable": False})
    error = error_of(findings)
    assert error is not None
    assert (error.exit_code, error.code) == (3, "ARCHITECTURE")
    assert "does not support this processor" in str(error)
    assert "cannot write" in str(error)
    assert "--accept architecture --accept install-dir" in error.hint


def test_a_directory_of_ours_is_known_with_and_without_its_receipt() -> None:
    path = "/srv/ai"
    ours = {"directories": {"resources": [{"kind": "directory", "path": path}]}}
    assert foreign_entries(path, ["notes.txt", "engine"], ours) == []
    assert foreign_entries(path, [".env", "engine", "data", ".dream-tmp-x"], {}) == []
    assert foreign_entries(path, [".env", "engine", "notes.txt"], {}) == ["notes.txt"]
    assert foreign_entries(path, ["data"], {}) == ["data"]
    assert foreign_entries(path, [], {}) == []


@pytest.mark.parametrize(
    ("text", "version"),
    [("6.1.0-18-amd64", (6, 1)), ("4.18.0", (4, 18)), (None, None), ("x", None)],
)
def test_kernel_version(text: str | None, version: object) -> None:
    assert preflight.kernel_version(text) == version


def test_containers_need_no_programs_or_sockets_there() -> None:
    place, tried = {"noexec": True, "fstype": "fuse.x"}, {"socket": False}
    assert (
        look(place=place, semantics=tried, settings={"profile": "full"}, docker_usable=True) == []
    )
