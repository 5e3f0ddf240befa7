"""Which engine, from where, and what speaks against it: decisions, without a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.module_utils.dream_core.containers import (
    engine_choice,
    engine_identity,
    engine_source,
)
from dream_runner.module_utils.dream_core.errors import DreamError

CASES = yaml.safe_load((Path(__file__).parent / "source_cases.yml").read_text())
FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "linuxmint": "debian",
    "fedora": "redhat",
    "rocky": "redhat",
    "arch": "arch",
    "alpine": "alpine",
}
NOTHING = {"kind": "none", "version": "", "compose": "", "root_dir": "", "store": "", "holds": 0}
DOCKER_INFO = {"ServerVersion": "26.1.5", "DockerRootDir": "/var/lib/docker", "Driver": "overlay2"}


def system(words: str) -> dict[str, str]:
    name, _, version = words.partition(" ")
    family = FAMILIES.get(name, "unknown")
    return {"id": name, "version_id": version, "family": family, "pretty_name": words}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_where_the_engine_comes_from(case: dict[str, Any]) -> None:
    expect = case["expect"]

    def decide() -> dict[str, Any]:
        return engine_source.source(
            case.get("setting", "auto"),
            {**NOTHING, **case.get("engine", {})},
            {"installed": case.get("installed", [])},
            system(case["system"]),
            offline=case.get("offline", False),
            bundled=case.get("bundled", ()),
        )

    if "code" in expect:
        with pytest.raises(DreamError) as caught:
            decide()
        assert caught.value.code == expect["code"]
        assert expect["words"] in str(caught.value)
        assert caught.value.exit_code == 8
    else:
        answer = decide()
        assert {key: answer[key] for key in expect} == expect


def seen(**more: Any) -> dict[str, Any]:
    return {"program": "/usr/bin/docker", "problem": "", "compose": "2.26.1", **more}


@pytest.mark.parametrize(
    ("look", "kind", "version"),
    [
        pytest.param({"program": None}, "none", "", id="no program"),
        pytest.param(seen(info=DOCKER_INFO), "docker", "26.1.5", id="Docker"),
        pytest.param(
            seen(info={"host": {}, "version": {"Version": "4.3.1"}}), "podman", "4.3.1", id="shim"
        ),
        pytest.param(
            seen(
                info={"ServerVersion": "5.4.2"},
                version={"Server": {"Components": [{"Name": "Podman Engine"}]}},
            ),
            "podman",
            "5.4.2",
            id="Docker's client at Podman's socket",
        ),
        pytest.param(
            seen(problem="Got permission denied while trying to connect"), "denied", "", id="denied"
        ),
        pytest.param(
            seen(info={"ClientInfo": {}}, problem="Cannot connect to the Docker daemon"),
            "silent",
            "",
            id="stopped",
        ),
    ],
)
def test_an_engine_is_known_by_its_api(look: dict[str, Any], kind: str, version: str) -> None:
    engine = engine_identity.identify(look)
    assert (engine["kind"], engine["version"]) == (kind, version)


def test_podman_is_named_and_refused() -> None:
    look = seen(info={"host": {}, "version": {"Version": "4.3.1"}})
    error = engine_identity.refusal(engine_identity.identify(look), look, "cpu")
    assert error is not None
    assert error.code == "DOCKER_IS_PODMAN"
    assert "Podman 4.3.1" in str(error)


@pytest.mark.parametrize(
    ("version", "backend", "is_bad"),
    [
        ("29.3.0", "amd", True),
        ("29.3.1", "amd", True),
        ("29.3.1", "nvidia", False),
        ("29.2.1", "amd", False),
        ("29.30.0", "amd", False),
        ("29.4.0", "amd", False),
        ("", "amd", False),
    ],
)
def test_known_bad_versions(version: str, backend: str, is_bad: bool) -> None:
    assert bool(engine_identity.known_bad(version, backend)) is is_bad


@pytest.mark.parametrize(
    ("text", "version", "has"),
    [
        ("2.26.1-4", "2.26.1-4", True),
        ("v2.29.7", "2.29.7", True),
        ("Docker Compose version v5.0.1", "5.0.1", True),
        ("1.29.2", "1.29.2", False),
        ("", "", False),
        ("none", "", False),
    ],
)
def test_compose_versions(text: str, version: str, has: bool) -> None:
    engine = engine_identity.identify(seen(info=DOCKER_INFO, compose=text))
    assert engine["compose"] == version
    assert engine_identity.has_compose(engine) is has


def test_an_engine_that_should_work_and_does_not() -> None:
    look = seen(problem="Cannot connect")
    error = engine_identity.refusal(engine_identity.identify(look), look, "cpu", ready=True)
    assert error is not None
    assert error.code == "DOCKER_NOT_READY"
    assert "Cannot connect" in str(error)


OFFERS = {
    "apt": {"url": "https://r/{system}/", "key": "https://r/{system}/gpg", "fingerprint": "F" * 40},
    "rpm": {"url": "https://r/{system}/{arch}", "key": "https://r/gpg", "fingerprint": "E" * 40},
}


def test_a_repository_for_apt_names_its_own_key_only() -> None:
    made = engine_source.repository("docker", OFFERS, system("debian 12"), "amd64", avoid=["29.3."])
    assert made["key_url"] == "https://r/debian/gpg"
    assert made["fingerprints"] == ["F" * 40]
    assert made["files"][0]["content"].splitlines() == [
        "Types: deb",
        "URIs: https://r/debian",
        "Suites: bookworm",
        "Components: stable",
        "Signed-By: /etc/apt/keyrings/dream-runner-docker.gpg",
    ]
    # Held against the upgrade of tomorrow too (U-30).
    assert "Pin: version *:29.3.*" in made["files"][1]["content"]


def test_a_repository_for_dnf() -> None:
    made = engine_source.repository("docker", OFFERS, system("rocky 9.4"), "amd64")
    text = made["files"][0]["content"]
    assert "baseurl=https://r/centos/x86_64\n" in text
    assert "gpgcheck=1" in text
    assert made["fingerprints"] == ["E" * 40]


@pytest.mark.parametrize(
    ("backend", "devices", "missing"),
    [
        ("amd", ["/dev/kfd", "/dev/dri"], None),
        ("amd", ["/dev/dri"], "/dev/kfd"),
        ("intel", [], "/dev/dri"),
        ("cpu", [], None),
        ("nvidia", [], None),
    ],
)
def test_devices(backend: str, devices: list[str], missing: str | None) -> None:
    present = {path: {"gid": 1} for path in devices}
    if missing is None:
        engine_choice.check_devices(backend, present)
        return
    with pytest.raises(DreamError) as caught:
        engine_choice.check_devices(backend, present)
    assert (caught.value.code, caught.value.where) == ("GPU_DEVICE_MISSING", missing)


CDI = "- hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.86.10\n"


@pytest.mark.parametrize(
    ("text", "driver", "is_due"),
    [
        (None, "570.86.10", True),
        (CDI, "570.86.10", False),
        (CDI, "580.1", True),
        ("cdiVersion: 0.5.0\n", "570.86.10", True),
        (CDI, "", False),
    ],
)
def test_cdi_is_made_anew_for_a_new_driver_only(
    text: str | None, driver: str, is_due: bool
) -> None:
    assert engine_choice.cdi_is_due(text, driver) is is_due


def test_a_toolkit_without_the_runtime_is_no_toolkit() -> None:
    engine = {**NOTHING, "kind": "docker", "runtimes": ["runc"]}
    with pytest.raises(DreamError, match="no runtime nvidia") as caught:
        engine_choice.check_toolkit(engine, {"cdi_text": CDI}, "570.86.10")
    assert caught.value.code == "GPU_TOOLKIT"
    engine_choice.check_toolkit({**engine, "runtimes": ["nvidia"]}, {"cdi_text": CDI}, "570.86.10")


# --- all of it ------------------------------------------------------------------------

LOOK: dict[str, Any] = {
    "program": None,
    "problem": "",
    "daemon_text": None,
    "filesystem": {"path": "/var/lib/docker", "free_bytes": 10**12},
    "installed": [],
    "sources": [],
    "keys": [],
    "devices": {},
    "toolkit": None,
    "cdi_text": None,
}
REQUEST: dict[str, Any] = {
    "docker_source": "auto",
    "offline": False,
    "bundled": [],
    "backend": "cpu",
    "system": system("debian 12"),
    "arch": "amd64",
    "driver": "",
    "ours": {},
    "options": {
        "daemon_options": {"log-driver": "json-file", "log-opts": {"max-size": "10m"}},
        "data_root": "",
        "least_mb": 2048,
        "image_store": "auto",
        "repository": OFFERS,
        "toolkit_repository": OFFERS,
    },
}


def test_the_plan_of_a_host_without_a_network_wants_no_repository() -> None:
    bundled = engine_source.UPSTREAM_PACKAGES
    plan = engine_choice.plan({**REQUEST, "offline": True, "bundled": bundled}, LOOK)
    assert (plan["packages"], plan["repositories"]) == (list(bundled), [])


def test_the_plan_of_a_bare_host_and_then_of_the_same_host_done() -> None:
    plan = engine_choice.plan(REQUEST, LOOK)
    assert [item["name"] for item in plan["repositories"]] == ["docker"]
    assert plan["daemon"]["differs"]
    info = {**DOCKER_INFO, "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    done = {**LOOK, **seen(info=info), "daemon_text": plan["daemon"]["content"]}
    again = engine_choice.plan({**REQUEST, "ours": plan["daemon"]["ours"]}, done)
    assert again["packages"] == again["repositories"] == []
    assert not again["daemon"]["differs"]
    assert again["daemon"]["ours"] == plan["daemon"]["ours"]


def test_nvidia_needs_its_toolkit_its_runtime_and_its_file() -> None:
    plan = engine_choice.plan({**REQUEST, "backend": "nvidia", "driver": "570.86.10"}, LOOK)
    assert [item["name"] for item in plan["repositories"]] == ["docker", "nvidia"]
    assert plan["toolkit"] == {"packages": ["nvidia-container-toolkit"], "cdi": True}
    assert plan["daemon"]["ours"]["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"


def test_a_repository_that_somebody_added_is_used() -> None:
    look = {**LOOK, "sources": ["https://r/debian"], "keys": ["/etc/apt/keyrings/docker.asc"]}
    assert engine_choice.plan(REQUEST, look)["repositories"] == []


def test_a_repository_of_ours_is_proved_again() -> None:
    key = "/etc/apt/keyrings/dream-runner-docker.gpg"
    look = {**LOOK, "sources": ["https://r/debian"], "keys": [key]}
    assert len(engine_choice.plan(REQUEST, look)["repositories"]) == 1
