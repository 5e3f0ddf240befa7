"""Packages of ours go with what only they brought, and never take somebody's choice along."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.packages import removal as packages

Apt = Callable[[dict[str, str]], None]
#: What apt says to each question, by the last words of it.
HOST = {
    "purge --auto-remove libgomp1": "Purg libgomp1 [12]\nPurg gcc-base [12]\nPurg idle [1]\n",
    "autoremove": "Remv idle [1]\n",
    "apt-mark showauto": "gcc-base\nidle\n",
}


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Put apt's programs in the place of the system's; ``apt(said)`` says what they answer."""
    monkeypatch.setattr(packages.tools, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)

    def answer(said: dict[str, str]) -> None:
        cases = [f"*{shlex.quote(end)}) printf %s {shlex.quote(said[end])} ;;" for end in said]
        for name in ("apt-get", "apt-mark"):
            script = ['case "${0##*/} $*" in', *cases, "*) exit 3 ;;", "esac"]
            program(tmp_path / name, "\n".join(script))

    answer(HOST)
    return answer


def test_what_only_ours_brought_goes_and_what_was_idle_before_stays(apt: Apt) -> None:
    removal = packages.plan(["libgomp1"])
    assert (removal.names, removal.why) == (["libgomp1", "gcc-base"], "")


def test_what_somebody_chose_and_needs_ours_keeps_it(apt: Apt) -> None:
    purge = "purge --auto-remove libgomp1"
    apt({**HOST, purge: HOST[purge] + "Purg their-tool [1]\n"})
    removal = packages.plan(["libgomp1"])
    assert removal.names == []
    assert removal.why == "needed by their-tool"


def test_without_root_the_command_is_told(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    assert packages.plan(["libgomp1"]).why == "requires root: sudo apt-get purge libgomp1 gcc-base"


def test_an_apt_that_refuses_keeps_all(apt: Apt, tmp_path: Path) -> None:
    program(tmp_path / "apt-get", "echo 'E: unmet dependencies' >&2; exit 100")
    assert packages.plan(["libgomp1"]).why == "E: unmet dependencies"


def test_another_package_manager_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.tools, "path_of", lambda name: "")
    assert packages.plan(["x"]).names == []


def test_a_warm_ticket_of_the_terminal_is_no_right_of_ansibles(
    apt: Apt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    program(tmp_path / "sudo", 'case " $* " in *" -k "*) exit 1 ;; esac\nexit 0')
    assert "requires root" in packages.plan(["libgomp1"]).why
    program(tmp_path / "sudo", "exit 0")
    assert packages.plan(["libgomp1"]).why == ""
