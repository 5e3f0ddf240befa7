"""Disks that are full, read-only or broken, from the start or on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import places, trace
from .cases import Case, chosen

pytestmark = pytest.mark.timeout(900)

#: done, or disk: whatever else would be an error that is told wrongly.
HONEST = (0, 6)


@pytest.mark.parametrize("number", chosen(range(12), 1))
def test_disk_fills_up(case: Case, tmp_path: Path, number: int) -> None:
    """Everything below HOME is full from a random instant on; then there is space again."""
    box = case.box
    instant = case.dice.uniform(0.05, 0.95) * case.reference.seconds
    leave = case.dice.choice([0, 4096, 65536, 1024 * 1024])
    case.tell(f"full disk {number}: {leave} bytes left after {instant:.2f} s")
    box.wipe()
    with places.disk(tmp_path / "disk.img", box.home):
        try:
            box.wipe()
            run = box.start()
            time.sleep(instant)
            ballast = places.fill(box.home, leave)
            done = box.finish(run)
            case.tell(f"ended with {done.code}")
            ballast.unlink()
            assert done.code in HONEST, str(done)
            case.recover_somehow()
        finally:
            box.wipe()


@pytest.mark.parametrize("kind", chosen(["read-only", "full"], 1))
def test_state_cannot_be_written(case: Case, kind: str) -> None:
    """State that cannot be kept is a warning, and the install itself succeeds.

    A disk that is full is said before anything is touched.
    """
    case.at_rest()
    box = case.box
    secrets = box.secrets()
    with _bad_state(box.state_dir, kind):
        done = box.install("--full")
        assert done.code == (6 if kind == "full" else 0), str(done)
        assert "not written" in done.err, str(done)
    case.recover(secrets=secrets)


@contextmanager
def _bad_state(state_dir: Path, kind: str) -> Iterator[None]:
    places.need("mount", "umount", root=True)
    if kind == "full":
        with places.memory(state_dir, 4):
            places.fill(state_dir, 0)
            yield
        return
    places.run("mount", "--bind", str(state_dir), str(state_dir))
    try:
        places.run("mount", "-o", "remount,bind,ro", str(state_dir))
        yield
    finally:
        places.run("umount", str(state_dir))


FAULTS = [
    (call, error) for call in ("fsync", "rename", "openat") for error in ("ENOSPC", "EROFS", "EIO")
]


@pytest.mark.occasional
@pytest.mark.parametrize(("call", "error"), chosen(FAULTS, 1))
def test_state_files_fail(case: Case, call: str, error: str) -> None:
    """One call on every state file fails; the run says so and goes on."""
    places.need("strace")
    case.at_rest()
    box = case.box
    secrets = box.secrets()
    receipts = box.state_dir / "receipts"
    names = [box.state_dir / name for name in ("settings.json", "facts.json")]
    names += sorted(receipts.glob("*.json"))
    temporary = [path.parent / f".dream-tmp-{path.name}" for path in names]
    done = box.finish(box.start("--full", before=trace.failing(call, error, temporary)), 800)
    assert done.code == 0, str(done)
    assert "not written" in done.err, str(done)
    case.recover(secrets=secrets)


@pytest.mark.occasional
@pytest.mark.parametrize("error", chosen(["ENOSPC", "EROFS", "EIO"], 1))
def test_environment_file_fails(case: Case, error: str) -> None:
    """The file of secrets cannot be replaced: exit code 6, and the old one stands."""
    places.need("strace")
    case.at_rest()
    box = case.box
    secrets = box.secrets()
    path = box.install_dir / ".env"
    path.chmod(0o644)
    case.tell(f"{error} on {path}")
    temporary = [path.parent / f".dream-tmp-{path.name}"]
    done = box.finish(box.start(before=trace.failing("fsync", error, temporary)), 800)
    assert done.code == 6, str(done)
    case.recover(secrets=secrets)
