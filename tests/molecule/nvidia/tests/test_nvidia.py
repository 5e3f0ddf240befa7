"""NVIDIA's part of the engine: said by the host's own tools, nothing of ours."""

from __future__ import annotations

import json
from typing import Any

#: As the capture has it.
DRIVER = "580.95.05"


def test_the_toolkit_came_from_the_signed_repository(host: Any) -> None:
    assert host.package("nvidia-container-toolkit").is_installed
    lists = host.file("/etc/apt/sources.list.d/dream-runner-nvidia.sources").content_string
    assert "URIs: http://127.0.0.1:8099/toolkit/amd64" in lists or "arm64" in lists
    assert "Signed-By: /etc/apt/keyrings/dream-runner-nvidia.gpg" in lists


def test_the_engine_has_its_runtime(host: Any) -> None:
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert "nvidia" in info["Runtimes"]
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    assert options.get("debug", False) is host.file("/root/drifted").exists


def test_the_devices_are_described_for_this_driver(host: Any) -> None:
    assert f"libcuda.so.{DRIVER}" in host.file("/etc/cdi/nvidia.yaml").content_string


def test_they_were_described_once_and_again_after_the_drift_only(host: Any) -> None:
    calls = host.file("/var/log/nvidia-ctk.log").content_string.splitlines()
    assert len(calls) == 1 + host.file("/root/drifted").exists
