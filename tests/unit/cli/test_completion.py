"""Completion, asked for by the shells themselves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from dream_runner import catalog
from dream_runner.cli import completion
from dream_runner.settings import parsers
from dream_runner.settings.table import BY_NAME, SETTINGS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A home whose program is the one under test."""
    program = tmp_path / "bin" / "dream-runner"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dream_runner "$@"\n')
    program.chmod(0o755)
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    path = f"{place / 'bin'}:/usr/bin:/bin"
    return {"HOME": str(place), "PATH": path, "TERM": "vt100", "LC_ALL": "C.UTF-8"}


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None and os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(f"no {name} in CI: apt-get install {name}")
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def installed(name: str, place: Path) -> str:
    """Install completion as the docs say, from within that shell; return the shell."""
    program = shell(name)
    argv = [program, "-c", "dream-runner --install-completion; true"]
    done = subprocess.run(
        argv, env=environment(place), capture_output=True, text=True, timeout=120, check=True
    )
    assert f"{name} completion installed" in done.stdout, done.stdout + done.stderr
    return program


def offered(name: str, place: Path, line: str) -> set[str]:
    """Return what the shell would offer behind ``line``."""
    program = installed(name, place)
    if name == "fish":
        code = f"complete -C {line!r}"
    else:
        words = line.split(" ")
        quoted = " ".join(f"'{word}'" for word in words)
        code = (
            f"source ~/.bash_completions/dream-runner.sh; COMP_WORDS=({quoted});"
            f" COMP_CWORD={len(words) - 1}; _dream_runner_completion dream-runner;"
            ' printf "%s\\n" "${COMPREPLY[@]}"'
        )
    done = subprocess.run(
        [program, "-c", code],
        env=environment(place), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    # fish explains behind a tab.
    return {row.split("\t")[0] for row in done.stdout.splitlines() if row}


@pytest.mark.parametrize("name", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dream-runner un", {"uninstall"}),
        ("dream-runner fleet in", {"install"}),
        ("dream-runner uninstall --pu", {"--purge"}),
        ("dream-runner install --profile ", {"auto", "full", "native"}),
        ("dream-runner install --tier SH", {"SH_LARGE", "SH_COMPACT"}),
    ],
)
def test_what_is_offered(name: str, line: str, expected: set[str], place: Path) -> None:
    assert offered(name, place, line) == expected


@pytest.fixture
def zsh(place: Path) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        installed("zsh", place),
        ["-i"],
        env=environment(place), timeout=120, encoding="utf-8", dimensions=(30, 120),
    )  # fmt: skip
    child.sendline("PS1='rea''dy> '")
    child.expect_exact("ready> ")
    yield child
    child.close(force=True)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("dream-runner uni", "nstall"), ("dream-runner install --profile nat", "ive")],
)
def test_zsh_completes(typed: str, completed: str, zsh: pexpect.spawn) -> None:
    zsh.send(typed)
    zsh.expect_exact(typed)
    zsh.send("\t")
    zsh.expect_exact(completed)


def test_only_words_that_count_are_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = catalog.load()
    known = parsers.Known(
        tiers=tuple(str(row["id"]) for row in loaded.tiers["tiers"]),
        models=tuple(str(row["id"]) for row in loaded.models["models"]),
    )
    for setting in SETTINGS:
        offer = completion.for_setting(setting)
        for word in offer("") if offer else ():
            assert setting.parse(word, known) is not None, (setting.name, word)
    offer = completion.for_setting(BY_NAME["model"])
    assert offer is not None
    assert offer("smal") == ["small"]
    assert "plain" in completion.progress_displays("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert completion.runs("") == []
    run = tmp_path / "dream-runner" / "runs" / "20261123T220000-x"
    run.mkdir(parents=True)
    (run / "plan.json").write_text("{}")
    assert completion.runs("2026") == [run.name]
    assert completion.runs("2027") == []
