"""The engine works: said by the host's own tools, nothing of ours."""

import json
from typing import Any


def info(host: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return answer


def test_the_engine_runs_now_and_after_a_reboot(host: Any) -> None:
    service = host.service("docker")
    assert service.is_running
    assert service.is_enabled


def test_it_is_docker_s_own(host: Any) -> None:
    for name in ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"):
        assert host.package(name).is_installed, name
    assert not host.package("docker.io").is_installed


def test_its_repository_is_signed_by_the_pinned_key_alone(host: Any) -> None:
    lists = host.file("/etc/apt/sources.list.d/dream-runner-docker.sources").content_string
    assert "Signed-By: /etc/apt/keyrings/dream-runner-docker.gpg" in lists
    assert host.file("/etc/apt/keyrings/dream-runner-docker.gpg").mode == 0o644
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
