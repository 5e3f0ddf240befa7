"""The wheel: all of dream-runner, working outside any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.phases import PHASES

ROOT = Path(__file__).resolve().parents[2]
CONTENT = ("playbooks", "roles", "library")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", target, str(ROOT)], check=True)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an empty environment with the wheel and what it asks for."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = directory / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-qq", str(wheel)], check=True)
    return directory / "bin"


def run(installed: Path, home: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DREAM_", "XDG_"))}
    program, *arguments = command
    return subprocess.run(
        [installed / program, *arguments],
        env={**kept, "HOME": str(home), "PATH": f"{installed}:{os.environ['PATH']}", **env},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def tracked() -> set[str]:
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "dream_runner", *CONTENT], cwd=ROOT, text=True
    )
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def test_wheel_carries_every_file_and_no_other(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        name if name.startswith("dream_runner/") else f"dream_runner/content/{name}"
        for name in tracked()
    }
    expected |= {
        f"dream_runner/content/{name}"
        for name in ("ansible.cfg", "requirements.lock", "install.sh")
    }
    # Every error names its place there.
    expected.add("dream_runner/content/docs/user/troubleshooting.md")
    assert expected <= names, sorted(expected - names)
    assert not [name for name in names if name.endswith(".pyc")]
    for phase in PHASES:
        assert f"dream_runner/content/roles/{phase}/tasks/main.yml" in names


def test_command_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "dream-runner", "--version")
    assert done.returncode == 0, done.stderr
    assert "0.1.0" in done.stdout
    assert run(installed, tmp_path, "dream-runner", "--help").returncode == 0


def test_plan_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    done = run(
        installed,
        tmp_path,
        "dream-runner",
        "plan",
        "--profile",
        "native",
        "--model",
        "smoke",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


@pytest.mark.parametrize("verb", ["install"])
def test_playbooks_parse_where_the_wheel_put_them(
    installed: Path, tmp_path: Path, verb: str
) -> None:
    content = next(installed.parent.glob("lib/python3*/site-packages/dream_runner/content"))
    command = ["ansible-playbook", "-i", "localhost,", "--syntax-check"]
    done = run(
        installed,
        tmp_path,
        *command,
        str(content / "playbooks" / f"{verb}.yml"),
        ANSIBLE_CONFIG=str(content / "ansible.cfg"),
    )
    assert done.returncode == 0, done.stderr
