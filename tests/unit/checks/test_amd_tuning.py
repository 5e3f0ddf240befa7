"""Who is tuned, how, and what waits for a reboot."""

from __future__ import annotations

import pytest

from dream_runner.module_utils.dream_core.checks.amd_tuning import gtt, not_in_force, pending, plan

APU = {"vendor": "amd", "memory_class": "unified"}
CARD = {"vendor": "amd", "memory_class": "discrete"}
ROOT = {"is_root": True, "sudo": "root"}


def tune(gpus: list, session: dict = ROOT, backend: str = "amd", **os_facts: object) -> dict:
    facts = {"os": os_facts, "gpus": gpus, "memory": {"total_mb": 125000}}
    return plan(facts, {"backend": backend}, session)


def test_one_apu_gets_everything() -> None:
    found = tune([APU])
    assert [item["needs"] for item in found["files"]] == ["sysctl", "boot"]
    assert "options amdgpu gpu_recovery=1 gttsize=112500\n" in found["files"][1]["content"]
    assert "pages_limit=28800000" in found["files"][1]["content"]


@pytest.mark.parametrize("gpus", [[CARD], [APU, CARD], [CARD, CARD], [APU, {"vendor": "nvidia"}]])
def test_every_other_amd_host_keeps_its_driver_options(gpus: list) -> None:
    assert [item["needs"] for item in tune(gpus)["files"]] == ["sysctl"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"backend": "cpu"}, "backend is cpu"),
        ({"container": "podman"}, "container"),
        ({"wsl": True}, "Windows"),
        ({"session": {"is_root": False, "sudo": "none"}}, "requires root"),
    ],
)
def test_who_is_left_alone(given: dict, why: str) -> None:
    found = tune([APU], **given)
    assert not found["applies"]
    assert why in found["reason"]
    assert found["files"] == []


@pytest.mark.parametrize(("ram", "size"), [(125000, 112500), (64000, 51200), (32000, 20800)])
def test_the_table_follows_the_memory(ram: int, size: int) -> None:
    assert gtt(ram)["gttsize"] == size
    assert gtt(ram)["page_pool_size"] * 2 == gtt(ram)["pages_limit"]


def test_a_kernel_setting_that_somebody_changed_is_not_in_force() -> None:
    wanted = tune([CARD])
    good = {"vm.swappiness": "10", "vm.vfs_cache_pressure": "50"}
    assert not_in_force(wanted, good) == []
    assert not_in_force(wanted, {**good, "vm.swappiness": "60"}) == ["vm.swappiness"]
    assert not_in_force(wanted, {"vm.vfs_cache_pressure": "50"}) == []
    assert not_in_force(tune([], backend="cpu"), {}) == []


def test_a_reboot_is_pending_until_the_driver_has_the_values() -> None:
    wanted = tune([APU])
    assert pending(wanted, {}) == []
    assert len(pending(wanted, {"amdgpu": {"gttsize": "-1"}})) == 1
    in_force = {name: dict(options) for name, options in wanted["modules"].items()}
    assert pending(wanted, in_force) == []
    in_force["amdgpu"]["gttsize"] = hex(112500)
    assert pending(wanted, in_force) == []
