"""A lock of wheels: read, by target, as pip's list; damaged ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dream_runner import catalog
from dream_runner.module_utils.dream_core.errors import RequirementError, UsageError
from dream_runner.module_utils.dream_core.fetch import wheel_lock

SHA = "a" * 64
DOCUMENT: dict[str, Any] = {
    "schema": "dream-runner.wheels/1",
    "project": "app",
    "version": "1.2",
    "targets": ["3.11-amd64", "3.12-amd64", "3.11-arm64"],
    "wheels": [
        {"file": "app-1.2-py3-none-any.whl", "sha256": SHA, "size_bytes": 10},
        {
            "file": "Fast_Json-0.3-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "sha256": "b" * 64,
            "size_bytes": 5,
            "targets": ["3.11-amd64"],
        },
    ],
}


def lock(**changed: Any) -> wheel_lock.Lock:
    return wheel_lock.parse(json.dumps({**DOCUMENT, **changed}))


def test_each_target_has_its_wheels() -> None:
    found = lock()
    assert [wheel.name for wheel in found.of("3.11-amd64")] == ["app", "fast-json"]
    assert [wheel.name for wheel in found.of("3.12-amd64")] == ["app"]
    assert found.size_bytes("3.11-amd64") == 15
    assert found.pythons("amd64") == ["3.11", "3.12"]
    assert found.pythons("riscv64") == []


def test_pip_gets_names_versions_and_digests() -> None:
    text = lock().requirements("3.11-amd64")
    assert text.splitlines()[1:] == [
        f"app==1.2 --hash=sha256:{SHA}",
        f"fast-json==0.3 --hash=sha256:{'b' * 64}",
    ]


def test_another_python_is_refused_by_name() -> None:
    with pytest.raises(RequirementError, match=r"no packages of app for Python 3\.10 on amd64"):
        wheel_lock.target_of(lock(), "3.10", "amd64")
    assert wheel_lock.target_of(lock(), "3.11", "arm64") == "3.11-arm64"


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": "dream-runner.wheels/2"},
        {"wheels": [{**DOCUMENT["wheels"][0], "file": "../app-1.2-py3-none-any.whl"}]},
        {"wheels": [{**DOCUMENT["wheels"][0], "file": "app-1.2.tar.gz"}]},
        {"wheels": [{**DOCUMENT["wheels"][0], "sha256": "abc"}]},
        {"wheels": [{**DOCUMENT["wheels"][0], "targets": ["2.7-amd64"]}]},
        {"wheels": "all of them"},
        {"targets": None},
    ],
)
def test_a_damaged_lock_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        lock(**changed)
    assert caught.value.code == "WHEEL_LOCK_BROKEN"


def test_what_is_no_json_or_not_there_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError):
        wheel_lock.parse("{")
    with pytest.raises(UsageError):
        wheel_lock.read(str(tmp_path / "none"))


def test_the_shipped_lock_is_complete() -> None:
    """The version is the catalogue's, and every target has one wheel of each package."""
    loaded = catalog.load()
    (image,) = (item["image"] for item in loaded.services["services"] if item["id"] == "open-webui")
    shipped = loaded.webui
    assert image.endswith(":v" + shipped.version)
    assert {target.split("-")[1] for target in shipped.targets} == {"amd64", "arm64"}
    assert set(shipped.pythons("amd64")) == {"3.11", "3.12", "3.13"}
    names = {target: [wheel.name for wheel in shipped.of(target)] for target in shipped.targets}
    for target, found in names.items():
        assert len(found) == len(set(found)), target
        assert {"open-webui", "uvicorn", "faster-whisper"} <= set(found)
        assert not {"torch", "triton", "transformers", "sentence-transformers"} & set(found)
        assert ("audioop-lts" in found) is target.startswith("3.13")
