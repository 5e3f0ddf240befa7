"""The stack works on an engine with the role's defaults: said by the host's own tools."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture
def root(on_13: bool) -> str:
    return "/home/sudoer/dream-runner" if on_13 else "/root/dream-runner"


def docker(host: Any, words: str, user: str) -> str:
    """Ask as the user, in a login of its own: a group counts from the next one on."""
    with host.sudo():
        return str(host.check_output("su - %s -c %s", user, f"docker {words}"))


@pytest.fixture
def ask(host: Any, on_13: bool) -> Any:
    return lambda words: docker(host, words, "sudoer" if on_13 else "root")


def drifted(host: Any) -> bool:
    with host.sudo():
        return bool(host.file("/root/drifted").exists)


# --- docker ---------------------------------------------------------------------------------


def test_the_engine_runs_now_and_after_a_reboot(host: Any) -> None:
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled


def test_it_is_the_distribution_s_where_that_has_compose(host: Any, on_13: bool) -> None:
    assert host.package("docker.io").is_installed is on_13
    assert host.package("docker-ce").is_installed is not on_13
    lists = host.file("/etc/apt/sources.list.d/dream-runner-docker.sources")
    assert lists.exists is not on_13


def test_compose_has_version_2(host: Any) -> None:
    assert host.check_output("docker compose version --short").startswith("2.")


def test_its_log_is_limited_and_what_is_somebody_s_own_stays(host: Any) -> None:
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options["log-driver"] == "json-file"
    assert options["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert "data-root" not in options
    assert options.get("debug", False) is drifted(host)


def test_the_user_may_talk_to_it(host: Any, on_13: bool) -> None:
    assert ("docker" in host.user("sudoer").groups) is on_13


def test_it_has_read_its_options(ask: Any) -> None:
    info = json.loads(ask("info --format '{{json .}}'"))
    assert info["LoggingDriver"] == "json-file"
    # The store in which an interrupted pull goes on where it stopped.
    assert ["driver-type", "io.containerd.snapshotter.v1"] in info["DriverStatus"]


# --- images ---------------------------------------------------------------------------------


def test_every_image_is_there_by_its_digest(ask: Any) -> None:
    used = set(ask("ps --all --no-trunc --format '{{.Image}}'").split())
    assert used
    assert all("@sha256:" in name for name in used), used
    there = ask("image inspect --format '{{join .RepoDigests \" \"}}' " + " ".join(used)).split()
    assert used <= set(there)


# --- directories ----------------------------------------------------------------------------


def test_directories_and_the_environment_file(host: Any, root: str, on_13: bool) -> None:
    with host.sudo():
        env = host.file(f"{root}/.env")
        lines = env.content_string.splitlines()
        assert (env.mode, env.user) == (0o600, "sudoer" if on_13 else "root")
        assert "LLM_MODEL=one" in lines
        assert ("MINE=kept" in lines) is drifted(host)
        for name in ("config", "data", "data/models"):
            assert host.file(f"{root}/{name}").is_directory
            assert not host.file(f"{root}/{name}").mode & 0o022, name
        mounted = host.check_output(
            "grep -E '^ *(- )?(\"?source\"?:)' %s || true", f"{root}/docker-compose.yml"
        )
        sources = [line.split(":", 1)[1].strip(' ",') for line in mounted.splitlines()]
        # What has no slash in front is a volume.
        for path in [source for source in sources if source.startswith("/")]:
            # Of a file that is renamed the container would keep the old one.
            assert path == "/var/run/docker.sock" or host.file(path).is_directory, path


# --- models ---------------------------------------------------------------------------------


def test_models(host: Any, root: str) -> None:
    with host.sudo():
        there = host.check_output("sha256sum %s", f"{root}/data/models/one.gguf").split()[0]
        assert there == host.check_output("sha256sum /root/served/models/one.gguf").split()[0]
        assert host.check_output("ls -A %s | grep -c part || true", f"{root}/data/models") == "0"


# --- services -------------------------------------------------------------------------------


def test_every_service_runs_and_restarts(ask: Any) -> None:
    ids = ask("ps --all --quiet --filter label=com.docker.compose.project=dream-runner").split()
    shown = json.loads(ask("inspect " + " ".join(ids)))
    names = {item["Config"]["Labels"]["com.docker.compose.service"] for item in shown}
    assert {"llama-server", "open-webui", "litellm", "searxng"} <= names
    for item in shown:
        assert item["State"]["Running"], item["Name"]
        assert item["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_it_answers(answer: str) -> None:
    assert answer.strip()


def test_its_pages_are_at_the_address_that_was_asked_for_and_the_engine_is_not(host: Any) -> None:
    assert host.socket("tcp://0.0.0.0:3000").is_listening
    assert host.socket("tcp://127.0.0.1:11434").is_listening


# --- the others -----------------------------------------------------------------------------


def test_offline_and_devtools_left_nothing(host: Any, root: str) -> None:
    with host.sudo():
        assert not host.file(f"{root}/.offline-mode").exists


def test_every_phase_has_its_receipt(host: Any) -> None:
    listed = host.check_output('grep -l \'"state": "done"\' ~/.local/state/dream-runner/receipts/*')
    assert len(listed.splitlines()) == 9
