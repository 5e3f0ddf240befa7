"""A change that fails is turned back to what the model last answered with, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.errors import DreamError, EngineError, NetworkError
from dream_runner.module_utils.dream_core.records import last_good, receipt, record_phase
from dream_runner.module_utils.dream_core.undo import rollback, uninstall

PROOF = {
    "profile": "full",
    "project": "dream",
    "services": [],
    "watch": {},
    "url": "http://127.0.0.1:1",
    "health_path": "/health",
    "api_path": "",
    "model": "m",
    "deadline_seconds": 1,
}


class Install:
    """Configuration, an environment file and packages, as the roles record them."""

    def __init__(self, tmp_path: Path) -> None:
        self.state, self.root = tmp_path / "state", tmp_path / "home" / "dream-runner"
        self.config, self.env = self.root / "docker-compose.yml", self.root / ".env"
        self.log, self.venv = self.root / "engine.log", self.root / "venv"
        self.root.parent.mkdir()
        self.failure: DreamError | None = None
        self.record(
            "directories",
            {"kind": "directory", "path": str(self.root)},
            {"kind": "file", "path": str(self.env), "secret": True},
        )
        self.record(
            "services",
            {"kind": "file", "path": str(self.config)},
            {"kind": "file", "path": str(self.log), "volatile": True},
            {"kind": "tree", "path": str(self.venv)},
        )

    def make(self) -> None:
        self.venv.mkdir(exist_ok=True)
        (self.venv / "package").write_text("old")
        self.config.write_text("old")
        self.env.write_text("SECRET=word")
        self.log.write_text("lines")

    def record(self, name: str, *resources: dict[str, Any], **more: Any) -> list[str]:
        stamp = {"version": "1", "run_id": "r", "install_dir": str(self.root)}
        shared: dict[str, Any] = {"state_dir": str(self.state), "phase": name, "stamp": stamp}
        record_phase.record(state="running", resources=list(resources), **shared)
        self.root.mkdir(exist_ok=True)
        if name == "services":
            self.make()
        done = record_phase.record(state="done", **shared, **more)
        warnings: list[str] = done["warnings"]
        return warnings

    def prove(self, **more: Any) -> None:
        assert self.record("health", facts={"proof": {**PROOF, **more}}) == []

    def upgrade(self) -> None:
        """Do what a newer version's phases do before the proof."""
        self.config.write_text("new")
        self.venv.rename(layout.former(str(self.venv)))
        self.venv.mkdir()
        (self.venv / "package").write_text("new")

    def roll_back(self, failed: DreamError | None = None, profile: str = "full") -> DreamError:
        failed = failed or EngineError("no answer", code="ENGINE_NO_ANSWER", hint="look")
        return rollback.roll_back(
            failed,
            str(self.state),
            str(self.root),
            profile,
            "docker",
            lambda _: None,
            prove=self.start_and_ask,
        )

    def start_and_ask(self, *_: Any) -> None:
        """Answer as the restored engine does: every time, or with a failure."""
        if self.failure:
            raise self.failure


@pytest.fixture
def install(tmp_path: Path) -> Install:
    return Install(tmp_path)


def test_what_was_proved_comes_back(install: Install) -> None:
    install.prove()
    install.upgrade()
    install.config.chmod(0o600)
    error = install.roll_back()
    assert (error.code, error.exit_code) == ("ROLLED_BACK", 8)
    assert "ENGINE_NO_ANSWER: no answer" in error.what
    assert install.config.read_text() == "old"
    assert install.config.stat().st_mode & 0o777 == 0o644
    assert (install.venv / "package").read_text() == "old"
    assert not os.path.exists(layout.former(str(install.venv)))


def test_the_exit_code_stays_that_of_the_cause(install: Install) -> None:
    install.prove()
    install.upgrade()
    error = install.roll_back(NetworkError("pip failed", code="NETWORK_FAILED"))
    assert (error.code, error.exit_code) == ("ROLLED_BACK", 5)


def test_a_file_that_is_gone_comes_back(install: Install) -> None:
    install.prove()
    install.config.unlink()
    assert install.roll_back().code == "ROLLED_BACK"
    assert install.config.read_text() == "old"


def test_where_nothing_was_changed_the_failure_is_told_as_it_is(install: Install) -> None:
    failed = EngineError("no answer", code="ENGINE_NO_ANSWER")
    assert install.roll_back(failed) is failed  # Nothing was ever proved.
    install.prove()
    assert install.roll_back(failed) is failed
    install.upgrade()
    assert install.roll_back(failed, profile="native") is failed
    assert install.config.read_text() == "new"


def test_what_does_not_start_either_is_told_with_both_reasons(install: Install) -> None:
    install.prove()
    install.upgrade()
    install.failure = EngineError("no such image", code="IMAGE_NOT_FOUND")
    error = install.roll_back()
    assert (error.code, error.exit_code) == ("ROLLBACK_FAILED", 8)
    assert "no answer" in error.what
    assert "no such image" in error.what


def test_content_that_rotted_is_not_put_back(install: Install) -> None:
    install.prove()
    install.upgrade()
    (kept,) = (
        path for path in (install.state / last_good.FOLDER).iterdir() if len(path.name) == 64
    )
    kept.write_text("rot")
    assert install.roll_back().code == "ROLLBACK_FAILED"
    assert install.config.read_text() == "new"


def test_a_second_failure_turns_back_to_the_same(install: Install) -> None:
    install.prove()
    for _ in range(2):
        install.upgrade()
        assert install.roll_back().code == "ROLLED_BACK"
        assert install.config.read_text() == "old"


def test_a_new_proof_lets_the_former_go(install: Install) -> None:
    install.prove()
    install.upgrade()
    install.prove()
    assert not os.path.exists(layout.former(str(install.venv)))
    assert len(list((install.state / last_good.FOLDER).iterdir())) == 2
    install.config.write_text("third")
    install.roll_back()
    assert install.config.read_text() == "new"


def test_no_secret_and_no_log_is_kept(install: Install) -> None:
    install.prove()
    kept = [path.read_text() for path in (install.state / last_good.FOLDER).iterdir()]
    assert not [text for text in kept if "word" in text or text == "lines"]
    assert {
        path.stat().st_mode & 0o077 for path in (install.state / last_good.FOLDER).iterdir()
    } == {0}


def test_a_manifest_nobody_can_read_is_none(install: Install) -> None:
    install.prove()
    install.upgrade()
    for text in ("", "[]", '{"schema": 99, "files": []}', '{"schema": 1}'):
        (install.state / last_good.FOLDER / "manifest.json").write_text(text)
        assert install.roll_back().code == "ENGINE_NO_ANSWER"


def test_uninstall_takes_both_kinds_of_packages_and_what_was_kept(install: Install) -> None:
    install.prove()
    install.upgrade()
    done = uninstall.remove(str(install.state), str(install.root.parent), purge=True)
    assert done["left"] == []
    assert not os.path.exists(layout.former(str(install.venv)))
    assert not install.venv.exists()
    assert not (install.state / last_good.FOLDER).exists()
    assert receipt.read_all(str(install.state))[0] == {}


def test_a_kill_while_packages_are_put_back_is_finished_by_the_next(install: Install) -> None:
    install.prove()
    install.upgrade()
    for path in install.venv.iterdir():
        path.unlink()
    install.venv.rmdir()
    assert install.roll_back().code == "ROLLED_BACK"
    assert (install.venv / "package").read_text() == "old"
