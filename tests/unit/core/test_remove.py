"""Uninstall removes what was made, keeps what is precious, and never leaves its bounds."""

from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core import phase, receipt
from dream_runner.module_utils.dream_core.remove import is_allowed, remove


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
        phase.record(state="running", resources=resources, **shared)
        for item in resources:
            path = Path(item["path"])
            if item["kind"] in ("directory", "tree"):
                path.mkdir(exist_ok=True)
            else:
                path.write_text(path.name)
        phase.record(state="done", **shared)

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


def test_the_users_own_files_stay_and_are_no_failure(install: Install) -> None:
    (install.root / "notes.txt").write_text("mine")
    assert install.remove(purge=True)["left"] == []
    assert names(install) == {"notes.txt"}


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    made = Install(tmp_path)
    made.root.mkdir()
    (made.root / "config.json").write_text("theirs")
    made.make(
        "directories", [{"kind": "file", "path": str(made.root / "config.json"), "mode": "0644"}]
    )
    assert "was there before" in made.remove(purge=True)["kept"][0]
    assert names(made) == {"config.json"}


def test_dry_touches_nothing(install: Install) -> None:
    before = names(install)
    answer = install.remove(purge=True, dry=True)
    assert len(answer["removed"]) == 4
    assert names(install) == before


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
    assert is_allowed(path, install_dir, "/home/u") is allowed
