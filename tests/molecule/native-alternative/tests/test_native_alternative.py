"""Every default turned round: said by the host's own tools, nothing of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

ASK = "import urllib.request as u; a = u.urlopen(u.Request(%r, headers=%r)); print(%s)"
ENGINE = "http://127.0.0.1:11434"
PAGES = "https://pages.example.org"


@pytest.fixture
def root(on_13: bool) -> str:
    return "/opt/dream" if on_13 else "/home/sudoer/dream"


def ask(host: Any, path: str, shown: str, **headers: str) -> str:
    return str(host.check_output("python3 -c %s", ASK % (ENGINE + path, headers, shown)))


# --- requirements, devtools -----------------------------------------------------------------


def test_requirements(host: Any) -> None:
    for name in ("libgomp1", "python3-venv"):
        assert host.package(name).is_installed, name


def test_the_tool_that_was_named_is_installed(host: Any) -> None:
    assert host.package("tree").is_installed
    assert host.run("tree --version").rc == 0


def test_the_package_manager_waits_as_long_as_was_said(host: Any) -> None:
    with host.sudo():
        history = host.file("/var/log/apt/history.log").content_string
    # The others made the image of the node.
    asked = [line for line in history.splitlines() if "DPkg::Lock::Timeout" in line]
    assert asked
    assert all("DPkg::Lock::Timeout=120 " in line for line in asked), asked


# --- models ---------------------------------------------------------------------------------


def test_the_model_is_whole_although_nothing_told_that_it_rotted(host: Any, root: str) -> None:
    there = host.check_output(f"sha256sum {root}/data/models/smoke.gguf").split()[0]
    assert there == host.check_output("sha256sum /srv/smoke.gguf").split()[0]


def test_the_peer_was_asked_first_and_saw_its_own_token_only(host: Any) -> None:
    lines = host.file("/var/log/hub-5082").content_string.splitlines()
    assert lines
    for line in lines:
        path, status, shown = line.split(" ", 2)
        assert path.startswith("/blobs/")
        assert (status, shown) == ("404", "Bearer peer-token")


def test_the_hub_saw_its_token(host: Any) -> None:
    lines = host.file("/var/log/hub-5081").content_string.splitlines()
    assert any(line.endswith(" 200 Bearer hub-token") for line in lines), lines
    assert not [line for line in lines if "peer-token" in line]


def test_the_token_stays_in_its_file(host: Any, root: str) -> None:
    places = f"{root} /root/.local /home/sudoer/.local /var/log/journal"
    with host.sudo():
        # In brackets, because sudo writes into the journal what it was asked to do.
        found = host.run(f"grep -rl 'hub-[t]oken' {places}")
    assert found.stdout == ""


# --- services -------------------------------------------------------------------------------


def test_the_engine_answers_two_at_a_time(host: Any) -> None:
    assert json.loads(ask(host, "/props", "a.read().decode()"))["total_slots"] == 2


def test_the_engine_has_one_thread(host: Any, root: str) -> None:
    config = json.loads(host.file(f"{root}/config/engine/engine.json").content_string)
    assert (config["threads"], config["parallel"]) == (1, 2)


def test_pages_of_one_origin_may_read_its_answers(host: Any) -> None:
    shown = "a.headers['Access-Control-Allow-Origin']"
    assert ask(host, "/health", shown, Origin=PAGES) == PAGES


def test_its_environment_was_made_with_the_python_that_was_said(host: Any, root: str) -> None:
    made = host.file(f"{root}/engine/venv/pyvenv.cfg").content_string
    assert "/opt/python/bin" in made
