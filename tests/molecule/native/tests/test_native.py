"""A native engine that answers: said by the host's own tools, nothing of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture
def root(on_13: bool) -> str:
    return "/home/sudoer/dream-runner" if on_13 else "/opt/dream-runner"


def test_requirements(host: Any) -> None:
    for name in ("libgomp1", "python3-venv", "ca-certificates"):
        assert host.package(name).is_installed, name


def test_directories(host: Any, root: str, on_13: bool) -> None:
    env = host.file(f"{root}/.env")
    assert env.mode == 0o600
    assert env.user == ("sudoer" if on_13 else "root")
    for name in ("data", "data/models"):
        assert host.file(f"{root}/{name}").is_directory
        assert not host.file(f"{root}/{name}").mode & 0o022, name


def test_models(host: Any, root: str) -> None:
    there = host.check_output(f"sha256sum {root}/data/models/smoke.gguf").split()[0]
    assert there == host.check_output("sha256sum /srv/smoke.gguf").split()[0]
    assert host.check_output(f"ls -A {root}/data/models/ | grep -c part || true") == "0"


def test_services(host: Any, on_13: bool, root: str) -> None:
    assert host.socket("tcp://127.0.0.1:11434").is_listening
    if on_13:
        # A user without a systemd manager of their own.
        assert host.run(f"kill -0 $(cat {root}/supervisor/supervisord.pid)").rc == 0
        return
    assert host.service("dream-runner-engine").is_running
    assert host.service("dream-runner-engine").is_enabled


def test_the_services_defaults(host: Any, root: str) -> None:
    config = json.loads(host.file(f"{root}/config/engine/engine.json").content_string)
    assert (config["threads"], config["parallel"]) == (0, 1)
    assert config["cors_origin"] == "http://localhost"
    made = host.file(f"{root}/engine/venv/pyvenv.cfg").content_string
    assert "/usr/bin/python3 " in made


def test_health(answer: str) -> None:
    assert answer.strip()


def test_summary(host: Any, root: str) -> None:
    document = json.loads(host.file(f"{root}/summary.json").content_string)
    assert document


def test_offline_and_devtools_left_nothing(host: Any, root: str) -> None:
    assert not host.file(f"{root}/.offline-mode").exists


def test_every_phase_has_its_receipt(host: Any) -> None:
    listed = host.check_output('grep -l \'"state": "done"\' ~/.local/state/dream-runner/receipts/*')
    assert len(listed.splitlines()) == 14
