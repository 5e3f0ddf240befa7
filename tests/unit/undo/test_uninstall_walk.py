"""Uninstall removes what was made, keeps what is precious, and never leaves its bounds."""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.fetch.disk.journal import Binding, Journal
from dream_runner.module_utils.dream_core.records import (
    bounds,
    install_mark,
    receipt,
    record_phase,
)
from dream_runner.module_utils.dream_core.records.bounds import Bounds
from dream_runner.module_utils.dream_core.system import filesystems
from dream_runner.module_utils.dream_core.undo.uninstall import remove


class Install:
    """A small install with receipts, made the way a role makes one."""

    def __init__(self, tmp_path: Path) -> None:
        self.state = tmp_path / "state"
        self.root = tmp_path / "home" / "dream-runner"
        self.home = tmp_path / "home"
        self.root.parent.mkdir()

    def make(self, name: str, resources: list[dict[str, Any]]) -> None:
        stamp = {"version": "1", "run_id": "r", "install_dir": str(self.root)}
        shared = {"state_dir": str(self.state), "phase": name, "stamp": stamp}
        record_phase.record(state="running", resources=resources, **shared)
        for item in resources:
            path = Path(item["path"])
            if item["kind"] in ("directory", "tree"):
                path.mkdir(exist_ok=True)
            else:
                path.write_text(path.name)
        record_phase.record(state="done", **shared)

    def remove(self, **more: Any) -> dict[str, Any]:
        return remove(str(self.state), str(self.home), purge=more.pop("purge", False), **more)


@pytest.fixture
def install(tmp_path: Path) -> Install:
    made = Install(tmp_path)
    root = made.root
    made.make(
        "directories",
        [
            {"kind": "directory", "path": str(root), "mode": "0755"},
            {"kind": "file", "path": str(root / ".env"), "mode": "0600", "secret": True},
            {"kind": "file", "path": str(root / "config.json"), "mode": "0644"},
        ],
    )
    made.make("models", [{"kind": "model", "path": str(root / "m.gguf"), "sha256": "0" * 64}])
    made.make("services", [{"kind": "tree", "path": str(root / "venv")}])
    return made


def names(install: Install) -> set[str]:
    return {item.name for item in install.root.iterdir()} if install.root.exists() else set()


def test_models_and_secrets_stay_without_purge_and_are_still_ours(install: Install) -> None:
    answer = install.remove()
    assert answer["left"] == []
    assert names(install) == {".env", "m.gguf"}
    receipts, _ = receipt.read_all(str(install.state))
    assert {item["state"] for item in receipts.values()} == {"removed"}
    assert install.remove(purge=True)["left"] == []
    assert not install.root.exists()
    assert receipt.read_all(str(install.state)) == ({}, [])


def test_purge_leaves_nothing(install: Install) -> None:
    install.remove(purge=True)
    assert not install.root.exists()
    assert not (install.state / "receipts").exists()


def test_what_others_may_use_by_now_stays_and_is_the_machines_after_a_purge(
    install: Install,
) -> None:
    unit = install.home / "engine.conf"
    install.make("docker", [{"kind": "file", "path": str(unit), "mode": "0644", "shared": True}])
    kept = f"file {unit}"
    assert kept in install.remove()["kept"]
    assert set(receipt.read_all(str(install.state))[0]) >= {"docker"}
    assert kept in install.remove(purge=True)["kept"]
    assert unit.exists()
    assert receipt.read_all(str(install.state)) == ({}, [])
    assert install.remove(purge=True)["kept"] == []


def test_the_users_own_files_stay_and_are_no_failure(install: Install) -> None:
    (install.root / "notes.txt").write_text("mine")
    assert install.remove(purge=True)["left"] == []
    assert names(install) == {"notes.txt"}


def found_before(tmp_path: Path, **more: Any) -> tuple[Install, Path]:
    """Return an install that met a file of somebody else's and rewrote it."""
    made = Install(tmp_path)
    made.root.mkdir(mode=0o750)
    config = made.root / "config.json"
    config.write_text("theirs")
    config.chmod(0o640)
    resources = [
        {"kind": "directory", "path": str(made.root), "mode": "0755"},
        {"kind": "file", "path": str(config), "mode": "0644", **more},
    ]
    made.make("directories", resources)
    return made, config


def test_what_was_there_before_is_as_it_was(tmp_path: Path) -> None:
    made, config = found_before(tmp_path)
    made.root.chmod(0o755)
    config.chmod(0o644)
    assert config.read_text() == "config.json"
    planned = made.remove(purge=True, dry=True)
    assert config.read_text() == "config.json"
    answer = made.remove(purge=True)
    assert planned == answer
    assert answer["restored"] == [f"file {config}", f"directory {made.root}"]
    assert (config.read_text(), config.stat().st_mode & 0o777) == ("theirs", 0o640)
    assert made.root.stat().st_mode & 0o777 == 0o750
    assert not made.state.exists()


def test_what_somebody_changed_since_is_theirs(tmp_path: Path) -> None:
    made, config = found_before(tmp_path)
    config.write_text("changed by hand")
    answer = made.remove(purge=True)
    assert answer["left"] == []
    assert any("changed since" in line for line in answer["kept"])
    assert config.read_text() == "changed by hand"


def test_a_secret_file_that_was_there_is_given_back_by_purge_only(tmp_path: Path) -> None:
    made, config = found_before(tmp_path, secret=True)
    backup = config.with_name("config.json.bak")
    backup.write_text("written by dream_env")
    assert f"file {config}" in made.remove()["kept"]
    assert backup.exists()
    assert config.read_text() == "config.json"
    assert made.remove(purge=True)["left"] == []
    assert config.read_text() == "theirs"
    assert not backup.exists()


def test_an_original_that_was_altered_is_not_given_back(tmp_path: Path) -> None:
    made, config = found_before(tmp_path)
    (kept,) = (made.state / "originals").iterdir()
    kept.write_text("evil")
    assert "kept original was changed" in made.remove(purge=True)["left"][0]
    assert config.read_text() == "config.json"


def test_lost_receipts_do_not_make_ours_theirs(install: Install) -> None:
    """The mark in the directory that we made tells whose the rest is."""
    shutil.rmtree(install.state)
    root = install.root
    install.make("directories", [{"kind": "directory", "path": str(root), "mode": "0755"}])
    install.make("models", [{"kind": "model", "path": str(root / "m.gguf"), "sha256": "0" * 64}])
    install.make("services", [{"kind": "tree", "path": str(root / "venv")}])
    (root / "config.json").unlink()
    (root / ".env").unlink()
    assert install.remove(purge=True)["left"] == []
    assert not root.exists()


def test_a_directory_that_was_there_is_never_marked(tmp_path: Path) -> None:
    made, _ = found_before(tmp_path)
    assert names(made) == {"config.json"}


def test_a_mark_that_was_copied_along_proves_nothing(install: Install, tmp_path: Path) -> None:
    copy = tmp_path / "home" / "copy"
    shutil.copytree(install.root, copy)
    resource = {"kind": "tree", "path": str(copy / "venv")}
    assert install_mark.owned(str(copy), [resource]) == [False]
    resource["path"] = str(install.root / "venv")
    assert install_mark.owned(str(install.root), [resource]) == [True]


def test_what_a_newer_version_made_is_named_and_stays_ours(install: Install) -> None:
    path = receipt.path_of(str(install.state), "services")
    document = json.loads(Path(path).read_text())
    document["resources"].append({"kind": "hologram", "name": "x", "origin": "made"})
    Path(path).write_text(json.dumps(document))
    answer = install.remove(purge=True)
    assert answer["left"] == []
    assert "hologram x (from an unknown version)" in answer["kept"]
    assert receipt.read_all(str(install.state))[0]["services"]["foreign"][0]["kind"] == "hologram"


def test_a_receipt_that_cannot_be_read_is_said(install: Install) -> None:
    Path(receipt.path_of(str(install.state), "models")).write_text("{")
    answer = install.remove(purge=True)
    assert "phase models" in answer["left"][0]
    assert names(install) == {"m.gguf"}


def test_partial_downloads_stay_with_the_models_and_go_with_them(install: Install) -> None:
    (install.root / "m.gguf").unlink()
    for name in ("m.gguf", "m.gguf.0123456789ab"):
        (install.root / f"{name}.part").write_bytes(b"half")
        binding = Binding("0" * 64, 8)
        with contextlib.closing(Journal(str(install.root / f"{name}.part.json"), binding)) as one:
            one.open()
    (install.root / "m.gguf.theirs.part").write_text("no journal of ours")
    install.remove()
    assert "m.gguf.part" in names(install)
    install.remove(purge=True)
    assert names(install) == {"m.gguf.theirs.part"}


def test_the_backup_of_secrets_goes_with_them(install: Install) -> None:
    (install.root / ".env.bak").write_text("SECRET=old")
    install.remove()
    assert ".env.bak" in names(install)
    install.remove(purge=True)
    assert not install.root.exists()


def test_dry_touches_nothing_and_tells_exactly_what_follows(install: Install) -> None:
    before = names(install)
    for purge in (False, True):
        planned = install.remove(purge=purge, dry=True)
        assert names(install) == before
        assert planned == install.remove(purge=purge)
        before = names(install)


def test_killed_at_any_change_the_next_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before the first, the second, ... change to the disk, until one gets through."""
    for deaths in range(100):
        place = tmp_path / str(deaths)
        place.mkdir()
        made, config = found_before(place)
        made.make("services", [{"kind": "tree", "path": str(made.root / "venv")}])
        with monkeypatch.context() as patched:
            finished = die_at(patched, deaths, lambda one=made: one.remove(purge=True))
        assert made.remove(purge=True)["left"] == []
        assert (config.read_text(), names(made)) == ("theirs", {"config.json"})
        assert not made.state.exists()
        if finished:
            assert deaths > 10
            return
    raise AssertionError("it never got through")


class Died(BaseException):
    """What no handler of errors catches, as a kill."""


def die_at(patched: pytest.MonkeyPatch, count: int, work: Any) -> bool:
    """Run ``work`` and raise Died instead of its change number ``count``."""
    left = [count]

    def dying(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if left[0] == 0:
                raise Died
            left[0] -= 1
            return real(*args, **more)

        return call

    for name in ("unlink", "rmdir", "replace", "chmod"):
        patched.setattr(os, name, dying(getattr(os, name)))
    try:
        work()
    except Died:
        return False
    return True


def test_a_mount_inside_is_not_entered(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    point = str(install.root / "venv" / "disk")
    monkeypatch.setattr(
        filesystems, "mounts_below", lambda path, below="": [] if below else [point]
    )
    assert "mount point" in install.remove(purge=True)["left"][0]
    assert (install.root / "venv").is_dir()


def test_killed_in_the_middle_the_next_one_finishes(install: Install) -> None:
    (install.root / "config.json").unlink()
    (install.root / "venv").rmdir()
    assert install.remove(purge=True)["left"] == []
    assert not install.root.exists()


def test_a_tampered_receipt_leads_nowhere(install: Install, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    document = receipt.read_all(str(install.state))[0]["services"]
    evil = [
        {"kind": "file", "path": str(victim), "origin": "made"},
        {"kind": "tree", "path": "/", "origin": "made"},
        {"kind": "file", "path": str(install.root / ".." / ".." / "victim"), "origin": "made"},
    ]
    receipt.write(str(install.state), dict(document, resources=evil))
    answer = install.remove(purge=True)
    assert len(answer["left"]) == 3
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("others", [False, True])
def test_a_folder_of_the_system_goes_if_we_made_it_and_it_is_empty(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool, others: bool
) -> None:
    folder = tmp_path / "modprobe.d"
    ours = folder / "dream-runner.conf"
    monkeypatch.setattr(bounds, "SYSTEM_FOLDERS", (str(folder),))
    if was_there:
        folder.mkdir()
    made = [
        {"kind": "directory", "path": str(folder)},
        {"kind": "file", "path": str(ours), "mode": "0644"},
    ]
    install.make("amd_tuning", made)
    if others:
        (folder / "theirs.conf").write_text("x")
    answer = install.remove(purge=True)
    assert not ours.exists()
    assert folder.exists() is (was_there or others)
    assert answer["left"] == []
    assert not (install.state / "receipts" / "amd_tuning.json").exists()


def test_a_folder_of_the_system_is_no_tree_of_ours(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "modprobe.d"
    monkeypatch.setattr(bounds, "SYSTEM_FOLDERS", (str(folder),))
    install.make("amd_tuning", [{"kind": "tree", "path": str(folder)}])
    assert len(install.remove(purge=True)["left"]) == 1
    assert folder.exists()


def test_a_link_on_the_way_or_in_place_is_not_followed(install: Install, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    (install.root / "venv").rmdir()
    (install.root / "venv").symlink_to(outside)
    answer = install.remove(purge=True)
    assert "link" in answer["left"][0]
    assert (outside / "file").exists()


@pytest.mark.parametrize(
    ("path", "install_dir", "allowed"),
    [
        ("/srv/ai/x", "/srv/ai", True),
        ("/srv/ai", "/srv/ai", True),
        ("/srv/aix", "/srv/ai", False),
        ("/etc/systemd/system/dream-runner-engine.service", "/srv/ai", True),
        ("/etc/systemd/system/ssh.service", "/srv/ai", False),
        ("/etc/passwd", "/", False),
        ("/etc/passwd", "/etc", False),
        ("/etc/passwd", "", False),
        ("/etc/passwd", "relative", False),
    ],
)
def test_bounds(path: str, install_dir: str, allowed: bool) -> None:
    assert (Bounds(install_dir, "/home/u").place_of(path) == "") is allowed
