"""Packages of ours go with what only they brought, and never take somebody's choice along."""

from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.packages import removal as packages

#: What apt says to each question, by the last words of it.
HOST = {
    "purge --auto-remove libgomp1": "Purg libgomp1 [12]\nPurg gcc-base [12]\nPurg idle [1]\n",
    "autoremove": "Remv idle [1]\n",
    "apt-mark showauto": "gcc-base\nidle\n",
}


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    said = dict(HOST)

    def output(*argv: str) -> str:
        words = " ".join(argv)
        return next(text for end, text in said.items() if words.endswith(end))

    monkeypatch.setattr(packages, "_output", output)
    monkeypatch.setattr(packages.tools, "path_of", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    return said


def test_what_only_ours_brought_goes_and_what_was_idle_before_stays(apt: dict[str, str]) -> None:
    removal = packages.plan(["libgomp1"])
    assert (removal.names, removal.why) == (["libgomp1", "gcc-base"], "")


def test_what_somebody_chose_and_needs_ours_keeps_it(apt: dict[str, str]) -> None:
    apt["purge --auto-remove libgomp1"] += "Purg their-tool [1]\n"
    removal = packages.plan(["libgomp1"])
    assert removal.names == []
    assert removal.why == "needed by their-tool"


def test_without_root_the_command_is_told(
    apt: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(packages, "_sudo", list)
    assert packages.plan(["libgomp1"]).why == "requires root: sudo apt-get purge libgomp1 gcc-base"


def test_an_apt_that_refuses_keeps_all(
    apt: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*argv: str) -> Any:
        raise packages.Refused("E: unmet dependencies")

    monkeypatch.setattr(packages, "_output", refuses)
    assert packages.plan(["libgomp1"]).why == "E: unmet dependencies"


def test_another_package_manager_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.tools, "path_of", lambda name: "")
    assert packages.plan(["x"]).names == []


def test_a_warm_ticket_of_the_terminal_is_no_right_of_ansibles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "sudo"
    program.write_text('#!/bin/sh\ncase " $* " in *" -k "*) exit 1 ;; esac\nexit 0\n')
    program.chmod(0o755)
    monkeypatch.setattr(packages.tools, "SYSTEM_PATH", str(tmp_path))
    assert packages._sudo() == []
    program.write_text("#!/bin/sh\nexit 0\n")
    assert packages._sudo() == [str(program), "-n"]
