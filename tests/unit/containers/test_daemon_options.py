"""The daemon's file is merged, and a foreign or broken one is never replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.module_utils.dream_core.containers import daemon_options
from dream_runner.module_utils.dream_core.errors import DreamError

CASES = yaml.safe_load((Path(__file__).parent / "merge_cases.yml").read_text())
EMPTY = {"kind": "docker", "version": "26.1.5", "root_dir": "/var/lib/docker", "holds": 0}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_merge_and_merge_again(case: dict[str, Any]) -> None:
    def merge(present: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
        return daemon_options.merge(present, case["wanted"], ours, required=["data-root"])

    if "code" in case:
        with pytest.raises(DreamError) as caught:
            merge(case["present"], {})
        assert caught.value.code == case["code"]
        return
    merged = merge(case["present"], case.get("before", {}))
    assert merged["options"] == case["options"]
    assert merged["ours"] == case["ours"]
    assert merged["kept"] == case.get("kept", [])
    again = merge(merged["options"], merged["ours"])
    assert (again["options"], again["ours"]) == (merged["options"], merged["ours"])


@pytest.mark.parametrize("text", ["{", "[]", '"text"', '{"a": 1,}', "log-driver: json-file"])
def test_a_broken_file_is_refused(text: str) -> None:
    with pytest.raises(DreamError) as caught:
        daemon_options.parse(text)
    assert caught.value.code == "DAEMON_FILE_BROKEN"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_no_file_has_no_options(text: str | None) -> None:
    assert daemon_options.parse(text) == {}


def test_uninstall_takes_ours_and_leaves_theirs() -> None:
    ours = {"log-driver": "json-file", "log-opts": {"max-size": "10m"}}
    text = daemon_options.render({**ours, "debug": True})
    assert daemon_options.holds(text, ours)
    rest = daemon_options.without(text, ours)
    assert daemon_options.parse(rest) == {"debug": True}
    assert not daemon_options.holds(rest, ours)
    assert daemon_options.without(daemon_options.render(ours), ours) == ""
    assert not daemon_options.holds("{", ours)
    assert not daemon_options.holds(None, {})


def test_limits_of_one_log_driver_do_not_go_with_another() -> None:
    options = {"log-driver": "json-file", "log-opts": {"max-size": "10m"}}
    assert daemon_options.wanted_options(options, {"log-driver": "journald"}) == {}
    assert daemon_options.wanted_options(options, {}) == options


@pytest.mark.parametrize(
    ("setting", "engine", "ours", "root", "store"),
    [
        ("auto", {"kind": "none", "version": "", "store": "", "holds": 0}, {}, "", "containerd"),
        ("auto", {**EMPTY, "store": "graphdriver"}, {}, "", "containerd"),
        ("auto", {**EMPTY, "store": "graphdriver", "holds": 3}, {}, "", "default"),
        ("auto", {**EMPTY, "store": "graphdriver", "version": "20.10.24"}, {}, "", "default"),
        ("auto", {**EMPTY, "store": "containerd", "version": "29.0.1"}, {}, "", "default"),
        ("auto", {**EMPTY, "store": "graphdriver"}, {}, "/srv/docker", "default"),
        (
            "auto",
            {**EMPTY, "store": "containerd", "holds": 3},
            {"features": {"containerd-snapshotter": True}},
            "",
            "containerd",
        ),
        ("containerd", {**EMPTY, "store": "graphdriver", "holds": 3}, {}, "", "containerd"),
        ("default", {**EMPTY, "store": "graphdriver"}, {}, "", "default"),
    ],
)
def test_image_store(
    setting: str, engine: dict[str, Any], ours: dict[str, Any], root: str, store: str
) -> None:
    assert daemon_options.image_store(setting, engine, ours, root) == store


def test_a_data_root_is_not_moved_from_under_what_is_in_it() -> None:
    place = {"path": "/srv/docker", "free_bytes": 10**12}
    with pytest.raises(DreamError) as caught:
        daemon_options.check_data_root("/srv/docker", {**EMPTY, "holds": 1}, place, 1)
    assert caught.value.code == "DATA_ROOT_IN_USE"
    daemon_options.check_data_root("/srv/docker", EMPTY, place, 1)
    daemon_options.check_data_root("/var/lib/docker", {**EMPTY, "holds": 1}, place, 1)


def test_a_data_root_without_space_is_refused_before_anything_is_in_it() -> None:
    place = {"path": "/var/lib/docker", "free_bytes": 100 * 1024 * 1024}
    with pytest.raises(DreamError, match="the engine's data needs 2048 MB") as caught:
        daemon_options.check_data_root("", EMPTY, place, 2048)
    assert caught.value.code == "DISK_FULL"
    daemon_options.check_data_root("", {**EMPTY, "holds": 5}, place, 2048)
