"""What a system's tools print is believed, row by row, whatever their exit code says (FC2-09)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.packages import bundle_debs, installed
from dream_runner.module_utils.dream_core.resources import observed_host, registry
from dream_runner.module_utils.dream_core.system import tools


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """``tool(name, prints, code)`` puts a program in the place of the system's."""
    monkeypatch.setattr(tools, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(bundle_debs, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(name: str, prints: str, code: int) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nprintf '{prints}'\necho complaint >&2\nexit {code}\n")
        path.chmod(0o755)

    return put


@pytest.mark.parametrize("code", [0, 1, 4])
def test_rows_of_systemctl(tool, code: int) -> None:  # type: ignore[no-untyped-def]
    rows = "Id=a.service\\nNames=a.service\\nActiveState=active\\nLoadState=loaded\\n"
    tool("systemctl", rows, code)
    seen = registry.observe(
        {"kind": "unit", "name": "a.service", "scope": "system"}, host("a.service")
    )
    assert seen["active"] == "active"


def host(name: str) -> observed_host.Host:
    return observed_host.Host([{"kind": "unit", "name": name, "scope": "system"}])


@pytest.mark.parametrize("code", [0, 1, 2])
def test_rows_of_dpkg_query(tool, code: int) -> None:  # type: ignore[no-untyped-def]
    tool("dpkg-query", "installed\\tlibgomp1\\t14.2\\t\\nhalf-installed\\tx\\t1\\t\\ncut", code)
    assert bundle_debs.installed_versions() == {"libgomp1": "14.2"}


@pytest.mark.parametrize("code", [0, 1])
def test_the_answer_for_one_package(tool, code: int) -> None:  # type: ignore[no-untyped-def]
    tool("dpkg-query", "installed", code)
    assert installed.missing_packages(["libgomp1"], "debian") == []
    tool("dpkg-query", "config-files", code)
    assert installed.missing_packages(["libgomp1"], "debian") == ["libgomp1"]


def test_a_tool_without_an_answer_is_asked_for_its_code(tool) -> None:  # type: ignore[no-untyped-def]
    tool("rpm", "libgomp-14", 0)
    assert installed.missing_packages(["libgomp"], "redhat") == []
    tool("rpm", "package libgomp is not installed", 1)
    assert installed.missing_packages(["libgomp"], "redhat") == ["libgomp"]
