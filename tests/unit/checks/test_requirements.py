"""Memory, disk, ports and packages: what suffices and what does not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dream_runner import paths
from dream_runner.decide import tiers
from dream_runner.module_utils.dream_core.checks import requirements
from dream_runner.module_utils.dream_core.checks.finding import error_of
from dream_runner.module_utils.dream_core.checks.needed_size import needs
from dream_runner.module_utils.dream_core.checks.ports import choose_port
from dream_runner.module_utils.dream_core.checks.requirements import check
from dream_runner.module_utils.dream_core.errors import RequirementError

MB = 1024 * 1024
SETTINGS = {"profile": "native", "install_dir": "/srv/ai", "disk_reserve_mb": 512}
CHOICE = {
    "profile": "native",
    "tier": {"id": "1", "min_ram_gb": 16, "min_disk_gb": 30},
    "engine_port": 11434,
    "model": {"files": [{"file": "m.gguf", "size_bytes": 1000 * MB}]},
}
USER = {"is_root": False, "sudo": "none"}


def listener(port: int, **more: Any) -> dict:
    return {"port": port, "address": "0.0.0.0", "pid": 7, "uid": 0, "name": "ollama", **more}


def judge(
    settings: dict | None = None,
    memory_mb: int | None = 16000,
    free: dict | None = None,
    there: dict | None = None,
    session: dict | None = None,
    choice: dict | None = None,
    **probes: Any,
) -> list:
    said = {**SETTINGS, **(settings or {})}
    chosen = {**CHOICE, "profile": said["profile"], **(choice or {})}
    need = needs(said, chosen, "/home/ada/.local/state/dream-runner")
    disk = [
        {
            **item,
            "device": "big" if item["path"].startswith("/srv") else "home",
            "mount": "/",
            "free_bytes": (free or {}).get(
                "big" if item["path"].startswith("/srv") else "home", 99999
            )
            * MB,
            "there_bytes": (there or {}).get(item["what"], 0) * MB,
        }
        for item in need["disk"]
    ]
    facts = {"memory": {"usable_mb": memory_mb}}
    return check(said, facts, {**USER, **(session or {})}, chosen, need, {"disk": disk, **probes})


def test_a_large_host_has_no_findings() -> None:
    assert judge() == []


def test_every_tier_has_a_row() -> None:
    catalog = paths.catalog() / "tiers.yml"
    for tier in yaml.safe_load(catalog.read_text())["tiers"]:
        choice = {**CHOICE, "tier": tier}
        need = needs(
            {**SETTINGS, "profile": "full"}, {**choice, "profile": "full"}, "/home/ada/.local/state"
        )
        assert need["memory_wanted_mb"] == tier["min_ram_gb"] * 1024
        assert need["disk_wanted_mb"] == tier["min_disk_gb"] * 1024


def test_what_a_tier_wants_is_in_the_catalogue_only() -> None:
    """A change of the catalogue is a change of what is asked for."""
    catalog = yaml.safe_load((paths.catalog() / "tiers.yml").read_text())
    for item in catalog["tiers"]:
        item.update(min_ram_gb=item["min_ram_gb"] + 1, min_disk_gb=item["min_disk_gb"] + 2)
    facts = {"backend": "cpu", "gpus": [], "memory": {"usable_mb": 16000}}
    tier = tiers.choose_tier(facts, catalog)
    need = needs(
        {**SETTINGS, "profile": "full"}, {**CHOICE, "profile": "full", "tier": tier}, "/home/ada"
    )
    listed = next(item for item in catalog["tiers"] if item["id"] == tier["id"])
    assert need["memory_wanted_mb"] == listed["min_ram_gb"] * 1024
    assert need["disk_wanted_mb"] == listed["min_disk_gb"] * 1024


@pytest.mark.parametrize("profile", ["native", "full"])
def test_a_disk_below_the_tier_is_a_warning_where_images_are_to_come(profile: str) -> None:
    findings = judge(settings={"profile": profile}, free={"big": 20000})
    warned = [("disk", "warning")] if profile == "full" else []
    assert [(f["id"], f["severity"]) for f in findings] == warned
    assert all(f["needed"] == "30720 MB" and f["found"] == "20000 MB free" for f in findings)


@pytest.mark.parametrize(
    ("address", "words"), [("::1", "::1"), ("0.0.0.0", "loopback"), ("10.9.8.7", "10.9.8.7")]
)
def test_an_address_that_is_not_there_is_a_finding(address: str, words: str) -> None:
    settings = {"bind_address": address}
    (found,) = judge(settings=settings, has_address=False, addresses=["127.0.0.1", "10.0.0.2"])
    assert (found["id"], found["severity"]) == ("address", "blocker")
    assert words in found["what"]
    assert found["found"] == "127.0.0.1, 10.0.0.2"
    error = error_of([found])
    assert error is not None
    assert (error.code, error.exit_code) == ("ADDRESS_MISSING", 3)


@pytest.mark.parametrize("profile", ["native", "full"])
def test_containers_have_no_link_local_address(profile: str) -> None:
    findings = judge(settings={"bind_address": "fe80::1%eth0", "profile": profile})
    codes = ["ADDRESS_UNUSABLE"] if profile == "full" else []
    assert [error.code for error in [error_of(findings)] if error] == codes


@pytest.mark.parametrize(
    ("bind", "held", "taken"),
    [("::1", "0.0.0.0", False), ("127.0.0.1", "::ffff:127.0.0.1", True), ("::", "127.0.0.1", True)],
)
def test_a_port_is_taken_by_family(bind: str, held: str, taken: bool) -> None:
    listeners = [listener(11434, address=held)]
    port = choose_port(0, None, listeners, bind_address=bind)
    assert port == (11435 if taken else 11434)


@pytest.mark.parametrize(
    ("given", "id_", "severity", "exit_code"),
    [
        ({"memory_mb": 1000}, "memory", "blocker", 3),
        ({"settings": {"memory_limit_mb": 900}}, "memory", "blocker", 3),
        ({"memory_mb": None}, "memory", "warning", 0),
        ({"settings": {"profile": "full"}, "memory_mb": 8000}, "memory", "warning", 0),
        ({"settings": {"profile": "full"}, "memory_mb": 3000}, "memory", "blocker", 3),
        ({"available_mb": 100}, "memory", "warning", 0),
        ({"free": {"big": 1900}}, "disk", "blocker", 6),
        ({"free": {"home": 500}}, "disk", "blocker", 6),
        ({"listeners": [listener(11434)]}, "port", "blocker", 3),
        ({"choice": {"engine_port": 80}, "first_free_port": 1024}, "port", "blocker", 4),
        ({"missing_packages": ["libgomp1"]}, "packages", "blocker", 4),
        (
            {"missing_packages": ["libgomp1"], "settings": {"offline": True}},
            "packages",
            "blocker",
            3,
        ),
    ],
)
def test_a_small_host_has_exactly_this_finding(
    given: dict, id_: str, severity: str, exit_code: int
) -> None:
    findings = judge(**given)
    assert [(f["id"], f["severity"]) for f in findings] == [(id_, severity)]
    error = error_of(findings)
    assert (error.exit_code if error else 0) == exit_code
    assert error_of(findings, [id_]) is None


def test_needs_on_one_filesystem_add_up() -> None:
    # 1000 for the model, 400 for the engine, 512 reserve.
    assert judge(free={"big": 1912}) == []
    found = judge(free={"big": 1911})
    assert "1912 MB" in found[0]["needed"]


def test_what_is_there_is_not_needed_again() -> None:
    assert judge(free={"big": 912}, there={"the model": 1000}) == []
    assert judge(free={"big": 0}, there={"the model": 1000, "the engine": 400}) == []


def test_a_finished_phase_needs_no_more_disk() -> None:
    parts = {i["what"] for i in needs(SETTINGS, CHOICE, "/s", done=["services"])["disk"]}
    assert "the engine" not in parts


def test_a_host_that_can_become_root_installs_what_is_missing() -> None:
    assert judge(missing_packages=["libgomp1"], session={"sudo": "passwordless"}) == []
    assert judge(missing_packages=["libgomp1"], session={"is_root": True}) == []


# --- ports ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "previous", "listeners", "own", "port"),
    [
        (0, None, [], [], 11434),
        (0, None, [listener(11434)], [], 11435),
        (0, None, [listener(11434), listener(11435)], [], 11436),
        (0, None, [listener(11434)], [7], 11434),
        (0, None, [listener(11434, own=True)], [], 11434),
        (0, 11440, [], [], 11440),
        (0, 11440, [listener(11440)], [7], 11440),
        (0, 11440, [listener(11440)], [], 11434),
        (0, 11440, [listener(11440, pid=None)], [], 11440),
        (0, None, [listener(11434, address="192.168.1.2")], [], 11434),
        (0, None, [listener(11434, address="::")], [], 11435),
        (8080, 11440, [listener(11434)], [], 8080),
        (8080, None, [listener(8080)], [7], 8080),
    ],
)
def test_choose_port(
    requested: int, previous: int | None, listeners: list, own: list, port: int
) -> None:
    assert choose_port(requested, previous, listeners, own) == port


def test_a_chosen_port_of_another_program_is_refused_by_name() -> None:
    with pytest.raises(RequirementError, match=r"8080 is in use by ollama \(pid 7\)") as caught:
        choose_port(8080, None, [listener(8080)])
    assert caught.value.code == "PORT_TAKEN"
    with pytest.raises(RequirementError, match="user root"):
        choose_port(8080, None, [listener(8080, pid=None)])


def test_all_taken() -> None:
    with pytest.raises(RequirementError, match="all ports"):
        choose_port(0, None, [listener(port) for port in range(11434, 11535)])


def test_what_the_containers_need_is_checked_before_anything_is_fetched() -> None:
    here = "127.0.0.1"
    stack = {
        "problems": [{"code": "IMAGE_NOT_LOCKED", "what": "no digest: x:1", "hint": "lock"}],
        "ports": [
            {"service": "open-webui", "key": "WEBUI_PORT", "port": 3000, "address": here},
            {"service": "n8n", "key": "N8N_PORT", "port": 5678, "address": here},
        ],
    }
    taken = [
        {"port": 3000, "address": "0.0.0.0", "pid": 1, "name": "docker-proxy", "own": False},
        {"port": 5678, "address": "0.0.0.0", "pid": 2, "name": "nginx", "own": False},
    ]
    probes = {"listeners": taken, "previous_ports": {"WEBUI_PORT": 3000}}
    found = requirements.stack_findings({"stack": stack}, probes)
    assert [(item["code"], item["severity"]) for item in found] == [
        ("IMAGE_NOT_LOCKED", "blocker"),
        ("PORT_TAKEN", "blocker"),
    ]
    assert "port 5678 for n8n is in use by nginx" in found[1]["what"]
