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
    monkeypatch: pytest.MonkeyPatch, release: str, known: list[str], expect: list[str], noted: bool
) -> None:
    def output(*command: str) -> str:
        assert command[:2] == ("apt-cache", "show")
        return f"Package: {command[-1]}" if command[-1] in known else ""

    monkeypatch.setattr(packages, "_output", output)
    names, notes = packages.engine_debs(SYSTEMS[release])
    assert (names, bool(notes)) == (expect, noted)


def test_what_install_sh_needs_is_found_by_the_names_of_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("python3-venv_3.13_amd64.deb", "docker.io_26_amd64.deb", "libgomp1_14_amd64.deb"):
        (tmp_path / name).touch()
    monkeypatch.setattr(packages.shutil, "which", lambda name: name)
    monkeypatch.setattr(packages, "_closure", lambda wanted: [*wanted, "python3-pip-whl"])
    found = [path.name for path in packages.venv_debs(tmp_path)]
    assert found == ["python3-venv_3.13_amd64.deb"]
