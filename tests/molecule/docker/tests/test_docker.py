"""The engine works: said by the host's own tools, nothing of ours."""

import json
from typing import Any


def info(host: Any) -> dict[str, Any]:
    """Ask as the user, in a login of its own: a group counts from the next one on."""
    command = "docker info --format '{{json .}}'"
    with host.sudo():
        answer: dict[str, Any] = json.loads(host.check_output("su - sudoer -c %s", command))
    return answer


def test_the_engine_runs_now_and_after_a_reboot(host: Any) -> None:
    service = host.service("docker")
    assert service.is_running
    assert service.is_enabled


def test_it_is_the_distribution_s(host: Any) -> None:
    assert host.package("docker.io").is_installed
    assert not host.package("docker-ce").is_installed
    assert not host.file("/etc/apt/sources.list.d/dream-runner-docker.sources").exists


def test_compose_has_version_2(host: Any) -> None:
    assert host.check_output("docker compose version --short").startswith("2.")


def test_its_log_is_limited(host: Any) -> None:
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options["log-driver"] == "json-file"
    assert options["log-opts"] == {"max-size": "10m", "max-file": "3"}


def test_an_option_of_somebody_s_own_stays(host: Any) -> None:
    with host.sudo():
        drifted = host.file("/root/drifted").exists
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options.get("debug", False) is drifted


def test_the_user_may_talk_to_it(host: Any) -> None:
    assert "docker" in host.user("sudoer").groups
    assert info(host)["ServerVersion"]


def test_it_has_read_its_options(host: Any) -> None:
    assert info(host)["LoggingDriver"] == "json-file"
    # The store in which an interrupted pull goes on where it stopped.
    assert ["driver-type", "io.containerd.snapshotter.v1"] in info(host)["DriverStatus"]
