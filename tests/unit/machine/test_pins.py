"""An image that no lock pins is looked up while planning, shown, and recorded before the start."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.serving import serving
from images import archive
from images.registry import Registry

from dream_runner import catalog
from dream_runner.catalog import image_lock
from dream_runner.commands import install
from dream_runner.commands import plan as plan_command
from dream_runner.commands.fleet import host_report
from dream_runner.commands.fleet import install as fleet
from dream_runner.commands.fleet import plan as fleet_plan
from dream_runner.machine import pins, target
from dream_runner.module_utils.dream_core.errors import RequirementError
from dream_runner.run.request import Result
from dream_runner.settings.values import Given

FLAGS = {"profile": Given("full", "--profile", "flag")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return tmp_path


@pytest.fixture
def image(tmp_path: Path) -> archive.Image:
    for name in ("root", "image"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "file").write_text("content")
    archive.write(tmp_path / "image", tmp_path / "root", "x:1", "amd64", {"Cmd": ["/file"]})
    return archive.Image(tmp_path / "image")


@pytest.fixture
def registry(image: archive.Image) -> Iterator[str]:
    with serving(Registry(("127.0.0.1", 0), {"qdrant": image.layout})) as place:
        yield place


def unknown(monkeypatch: pytest.MonkeyPatch, tag: str, service: str = "qdrant") -> None:
    """Make the catalogue name an image for ``service`` that no lock pins."""
    loaded = catalog.load()
    services = [
        {**item, "image": tag} if item["id"] == service else item
        for item in loaded.services["services"]
    ]
    changed = dataclasses.replace(loaded, services={**loaded.services, "services": services})
    monkeypatch.setattr(catalog, "load", lambda directory=None: changed)


def planned(*, locked: bool = False, **flags: Given) -> Any:
    return plan_command.run({**FLAGS, **flags}, None, os.environ, locked=locked)


def lock_file(home: Path) -> Path:
    return home / ".local" / "state" / "dream-runner" / catalog.LOCK


def test_the_plan_shows_what_it_looked_up_and_writes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, registry: str, image: archive.Image
) -> None:
    tag = f"{registry}/qdrant:1"
    unknown(monkeypatch, tag)
    plan, _ = planned()
    assert plan.pinned == ({"image": tag, "digest": image.digest, "from": ""},)
    (row,) = (item for item in plan.images if item["image"] == tag)
    assert row["reference"] == f"{registry}/qdrant@{image.digest}"
    assert f"Pinned now:  {tag} {image.digest}" in plan_command.as_text(plan)
    assert not lock_file(home).exists()


def test_what_is_pinned_already_is_asked_of_nobody(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_lock, "ask", lambda *_, **__: pytest.fail("asked a registry"))
    plan, _ = planned()
    assert plan.pinned == ()


@pytest.mark.parametrize("way", ["locked", "offline"])
def test_without_leave_to_ask_nothing_is_asked(
    home: Path, monkeypatch: pytest.MonkeyPatch, registry: str, way: str
) -> None:
    unknown(monkeypatch, f"{registry}/qdrant:1")
    monkeypatch.setattr(image_lock, "ask", lambda *_, **__: pytest.fail("asked a registry"))
    offline = {"offline": Given("yes", "--offline", "flag")} if way == "offline" else {}
    if way == "offline":
        # Else no model would be there.
        smoke = str(catalog.HERE / "smoke.gguf")
        offline["model"] = Given(smoke, "--model", "flag")
    plan, _ = planned(locked=way == "locked", **offline)
    assert plan.pinned == ()
    assert "not pinned yet" in plan_command.as_text(plan)


def test_a_registry_that_does_not_answer_is_named_and_nothing_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown(monkeypatch, "127.0.0.1:1/qdrant:1")
    _, notes = planned()
    assert "not pinned: no server can be reached: 127.0.0.1 refused the connection" in notes
    with pytest.raises(RequirementError) as caught:
        installed(monkeypatch)
    assert caught.value.code == "IMAGE_NOT_LOCKED"
    assert "127.0.0.1 refused the connection" in caught.value.what
    assert "dream-runner lock 127.0.0.1:1/qdrant:1" in caught.value.hint


def test_a_plan_waits_ten_seconds_at_most() -> None:
    assert pins.SECONDS == 10


def installed(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Any]:
    """Install up to the start of Ansible; return the requests with which it would be started."""
    started: list[Any] = []

    def follow(request: Any, *_: Any, **__: Any) -> Result:
        started.append(request)
        return Result(0, False, None)

    monkeypatch.setattr(install.privilege, "require_possible_root", lambda *_, **__: None)
    monkeypatch.setattr(install.privilege, "become_password", lambda *_, **__: None)
    listener = SimpleNamespace(note=lambda *_: None, take=lambda *_: None)
    wish = install.resume.Wish(yes=True)
    wanted: Any = install.Options(wish, **options)
    install.run(FLAGS, None, os.environ, wanted, listener, follow=follow)  # type: ignore[arg-type]
    return started


def test_the_pin_is_recorded_before_the_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, registry: str, image: archive.Image
) -> None:
    tag = f"{registry}/qdrant:1"
    unknown(monkeypatch, tag)
    (request,) = installed(monkeypatch)
    assert catalog.read_lock(lock_file(home))[tag]["digest"] == image.digest
    assert request.playbook == "install"
    known = target.observe(target.read_settings(FLAGS, None, os.environ), fresh=False, save=False)
    assert known.choice["stack"]["problems"] == []


def test_locked_refuses_and_records_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    unknown(monkeypatch, f"{registry}/qdrant:1")
    with pytest.raises(RequirementError) as caught:
        installed(monkeypatch, locked=True)
    assert caught.value.code == "IMAGE_NOT_LOCKED"
    assert f"- {registry}/qdrant:1" in caught.value.what
    assert "or leave out --locked, then install looks them up" in caught.value.hint
    assert not lock_file(home).exists()


def test_the_user_s_own_lock_comes_before_the_shipped_one(home: Path) -> None:
    own = {"digest": "sha256:" + "a" * 64}
    image_lock.record(lock_file(home), {"qdrant/qdrant:v1.16.3": own})
    said = target.read_settings(FLAGS, None, os.environ)
    choice = target.observe(said, fresh=False, save=False).choice
    references = {item["service"]: item["reference"] for item in choice["stack"]["images"]}
    assert references["qdrant"] == f"qdrant/qdrant@{own['digest']}"
    assert references["n8n"].startswith("n8nio/n8n@sha256:")


# --- fleets ------------------------------------------------------------------------------


def host(name: str, tag: str, reference: str = "", *, offline: bool = False) -> Any:
    choice = {"stack": {"images": [{"tag": tag, "reference": reference}]}}
    return SimpleNamespace(name=name, choice=choice, settings={"offline": offline})


def test_a_fleet_asks_once_and_loses_only_hosts_without_a_pin(
    home: Path, registry: str, image: archive.Image
) -> None:
    tag = f"{registry}/qdrant:1"
    hosts = [host("a", tag), host("b", tag), host("c", "x:1", "x@sha256:1")]
    hosts += [host("d", f"{registry}/gone:1"), host("e", f"{registry}/other:1", offline=True)]
    found, lost = fleet.pins_of(hosts, locked=False)
    assert {name: entry["digest"] for name, entry in found.items()} == {tag: image.digest}
    assert set(lost) == {"d", "e"}
    assert {error.code for error in lost.values()} == {"IMAGE_NOT_LOCKED"}
    assert "404" in lost["d"].what
    began = time.monotonic()
    found, lost = fleet.pins_of(hosts, locked=True)
    assert (found, set(lost)) == ({}, {"a", "b", "d", "e"})
    assert time.monotonic() - began < 1


def test_the_plan_of_a_fleet_shows_pins_host_by_host(registry: str, image: archive.Image) -> None:
    tag = f"{registry}/qdrant:1"
    facts = {"unpinned": [tag, f"{registry}/gone:1"]}
    hosts = [
        host_report.HostReport("a", "due", "images", facts=facts),
        host_report.HostReport("b", "up to date"),
    ]
    first, second = fleet_plan.with_pins(hosts)
    assert f"pinned now: {tag} {image.digest}" in first.detail
    assert first.facts["unpinned"] == [f"{registry}/gone:1"]
    assert second is hosts[1]
