"""Every default turned round: said by the host's own tools, nothing of ours."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest


@pytest.fixture
def root(on_13: bool) -> str:
    return "/opt/dream" if on_13 else "/home/sudoer/dream"


def info(host: Any) -> dict[str, Any]:
    with host.sudo():
        answer: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return answer


def test_the_engine_runs_now_and_after_a_reboot(host: Any) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled


def test_it_is_docker_s_own(host: Any) -> None:
    for name in ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"):
        assert host.package(name).is_installed, name
    assert not host.package("docker.io").is_installed


def test_its_repository_is_signed_by_the_pinned_key_alone(host: Any) -> None:
    lists = host.file("/etc/apt/sources.list.d/dream-runner-docker.sources").content_string
    assert "Signed-By: /etc/apt/keyrings/dream-runner-docker.gpg" in lists
    assert host.file("/etc/apt/keyrings/dream-runner-docker.gpg").mode == 0o644
    with host.sudo():
        assert host.run("apt-get -q update -o APT::Update::Error-Mode=any").rc == 0


def test_compose_has_version_2(host: Any) -> None:
    assert host.check_output("docker compose version --short").startswith("2.")


def test_its_options_are_the_ones_that_were_asked_for(host: Any) -> None:
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options == {"log-driver": "local", "data-root": "/var/lib/docker/elsewhere"}
    assert info(host)["LoggingDriver"] == "local"
    assert info(host)["DockerRootDir"] == "/var/lib/docker/elsewhere"
    assert info(host)["Driver"] == "overlay2"


def test_nobody_was_added_to_its_group(host: Any) -> None:
    assert host.group("docker").members == []


def test_it_was_started_after_its_options_were_written(host: Any) -> None:
    # After the drift: a restart that a killed run owed was made by the next one.
    written = host.file("/etc/docker/daemon.json").mtime.timestamp()
    shown = host.check_output("systemctl show docker --property=ActiveEnterTimestamp --value")
    assert int(host.check_output("date -d %s +%%s", shown)) >= int(written)


def test_later_phases_were_told_the_program(host: Any) -> None:
    with host.sudo("root"):
        found = host.check_output(
            "cat /root/.local/state/*/receipts/docker.json "
            "/home/sudoer/.local/state/*/receipts/docker.json 2>/dev/null; :"
        )
    assert '"command": "/usr/bin/docker"' in found


def test_the_images_came_one_after_the_other(host: Any) -> None:
    """In the registry's log the requests for one image end before those for the next begin."""
    with host.sudo():
        log = host.check_output("journalctl --no-pager --output=cat --unit=test-registry")
    names = re.findall(r"/v2/([a-z-]+)/(?:manifests|blobs)/", log)
    assert set(names) == {"llama-server", "open-webui", "litellm", "searxng", "n8n"}
    runs = [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]
    # Twice each after the drift.
    assert len(runs) <= 10, runs


def test_a_busy_registry_was_asked_again(host: Any) -> None:
    with host.sudo():
        log = host.check_output("journalctl --no-pager --output=cat --unit=test-registry")
    assert log.count(" 503") == 2, log


def test_the_environment_file_has_the_further_keys(host: Any, root: str) -> None:
    with host.sudo():
        lines = host.file(f"{root}/.env").content_string.splitlines()
    assert "WEBUI_NAME=Ours" in lines
    assert "TIMEZONE=Europe/Berlin" in lines
