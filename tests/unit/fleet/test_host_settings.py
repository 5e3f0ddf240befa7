"""The settings of each host: the inventory's, under what was typed, all problems at once."""

from pathlib import Path
from typing import Any

import pytest

from dream_runner.fleet.host_settings import of_hosts
from dream_runner.fleet.inventory.hosts import InventoryHost
from dream_runner.settings.parsers import Known
from dream_runner.settings.problems import SettingsError
from dream_runner.settings.values import Given

KNOWN = Known(tiers=("T1", "T2"), models=("small",))


def settings(
    *hosts: InventoryHost, flags: Any = None, environment: Any = None, answers: str | None = None
):
    return of_hosts(hosts, flags or {}, environment or {}, answers, KNOWN)


def test_flags_then_environment_then_inventory_then_answers(tmp_path: Path) -> None:
    file = tmp_path / "answers.yml"
    file.write_text("tier: T1\nengine_port: 1000\nprofile: native\ndisk_reserve_mb: 7\n")
    host = InventoryHost("a", settings={"dream_tier": "T2", "dream_engine_port": 2000,
                               "dream_profile": "full"})  # fmt: skip
    found = settings(
        host,
        flags={"profile": Given("native", "--profile", "flag")},
        environment={"DREAM_ENGINE_PORT": "3000"},
        answers=str(file),
    )["a"]
    assert found["profile"] == "native"
    assert found["engine_port"] == 3000
    assert found["tier"] == "T2"
    assert found["disk_reserve_mb"] == 7


def test_paths_of_hosts_are_left_for_the_hosts_to_resolve() -> None:
    found = settings(
        InventoryHost("a"), InventoryHost("b", settings={"dream_install_dir": "/srv//dream/"})
    )
    assert found["a"]["install_dir"] == "~/ai-server"
    assert found["b"]["install_dir"] == "/srv/dream"


def test_every_problem_of_every_host_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(
            InventoryHost("a", settings={"dream_engine_port": "http", "dream_teir": "T1"}),
            InventoryHost("b", settings={"dream_install_dir": "/etc"}),
            InventoryHost("c", settings={"dream_model": "https://host/x.gguf"}),
            InventoryHost("d"),
        )
    where = [item.where for item in caught.value.problems]
    assert where == [
        "a: dream_teir",
        "a: dream_engine_port",
        "b: dream_install_dir",
        "c: dream_model",
    ]


def test_a_wrong_flag_is_told_once_and_not_of_every_host() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(
            InventoryHost("a"), InventoryHost("b"), flags={"tier": Given("T9", "--tier", "flag")}
        )
    assert [item.where for item in caught.value.problems] == ["--tier"]


def test_the_state_directory_is_no_setting_and_may_be_said() -> None:
    assert settings(InventoryHost("a", settings={"dream_state_dir": "/var/lib/dream"}))
