"""Which Debian packages go into a bundle: what this host's apt knows decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_runner.bundle import packages

SYSTEMS = {
    "12": {"id": "debian", "family": "debian", "version_id": "12"},
    "13": {"id": "debian", "family": "debian", "version_id": "13"},
}
DISTRO = ["docker.io", "docker-cli", "docker-compose"]
UPSTREAM = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"]
TOOLKIT = ["nvidia-container-toolkit"]


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("release", "known", "expect", "noted"),
    [
        pytest.param("13", DISTRO, DISTRO, False, id="the distribution's"),
        pytest.param("13", [*DISTRO, *UPSTREAM], DISTRO, False, id="the distribution's first"),
        pytest.param("13", [*DISTRO, *TOOLKIT], [*DISTRO, *TOOLKIT], False, id="with NVIDIA's"),
        # That of Debian 12 is compose 1, and the repository has the others.
        pytest.param("12", ["docker.io", "docker-compose"], [], True, id="12 alone"),
        pytest.param("12", [*DISTRO, *UPSTREAM], UPSTREAM, False, id="12 with the repository"),
        pytest.param("12", UPSTREAM[:-1], [], True, id="not all of them"),
    ],
)
def test_the_engine_that_apt_knows(
    programs: Path, release: str, known: list[str], expect: list[str], noted: bool
) -> None:
    cases = "|".join(f'"show --no-all-versions {name}"' for name in known)
    program(programs / "apt-cache", f'case "$*" in {cases}) echo Package: x ;; esac')
    names, notes = packages.engine_debs(SYSTEMS[release])
    assert (names, bool(notes)) == (expect, noted)


def test_what_install_sh_needs_is_found_by_the_names_of_files(
    programs: Path, tmp_path: Path
) -> None:
    for name in ("python3-venv_3.13_amd64.deb", "docker.io_26_amd64.deb", "libgomp1_14_amd64.deb"):
        (tmp_path / name).touch()
    # A minimal system has python3 and what it needs.
    venv = "*' install python3-venv') echo Inst libc6; echo Inst python3-venv ;;"
    program(programs / "apt-get", f'case "$*" in {venv} *) echo Inst libc6 ;; esac')
    program(programs / "apt-cache", "exit 0")
    found = [path.name for path in packages.venv_debs(tmp_path)]
    assert found == ["python3-venv_3.13_amd64.deb"]
