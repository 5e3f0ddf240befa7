"""State files that are cut short, foreign, newer, linked or no files at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.records import receipt

from . import sandbox
from .cases import Case, chosen

pytestmark = pytest.mark.timeout(900)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 4)


def foreign(path: Path) -> None:
    path.write_text('["somebody", {"else": "wrote this"}]\n')


def newer(path: Path) -> None:
    document = json.loads(path.read_text())
    schema = document["schema"]
    document["schema"] = schema + 1 if isinstance(schema, int) else "dream-runner.facts/99"
    document["invented_later"] = {"a": 1}
    path.write_text(json.dumps(document))


def older(path: Path) -> None:
    """As a first version wrote it: without what was invented since."""
    document = json.loads(path.read_text())
    schema = document["schema"]
    document["schema"] = schema - 1 if isinstance(schema, int) else "dream-runner.facts/0"
    for name in ("inputs", "sources", "digest"):
        document.pop(name, None)
    path.write_text(json.dumps(document))


def linked(path: Path) -> None:
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    os.replace(path, elsewhere)
    path.symlink_to(elsewhere)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in the way")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def missing(path: Path) -> None:
    path.unlink()


HARMS: list[Callable[[Path], None]] = [
    *(empty, truncated, noise, foreign, newer, older, linked, directory, pipe, missing)
]
FILES = [
    "settings.json",
    "facts.json",
    *(f"receipts/{phase}.json" for phase in ("directories", "models", "services", "health")),
]
GRID = [(harm, name) for name in FILES for harm in HARMS]
#: What a receipt that was lost cannot tell: whether we made what is there.
FORGOTTEN = ("origin", "original", "foreign", "invented_later", "elsewhere-", ".aside", "sources")


@pytest.mark.parametrize(
    ("harm", "name"),
    chosen(GRID, 2),
    ids=lambda value: getattr(value, "__name__", str(value).replace("/", "-")),
)
def test_one_file(case: Case, harm: Callable[[Path], None], name: str) -> None:
    """One state file is harmed: one warning at most, and the install holds all the same."""
    case.at_rest()
    box = case.box
    secrets = box.secrets()
    elsewhere = box.state_dir / "receipts"
    harm(box.state_dir / name)
    done = box.install()
    assert done.code == 0, str(done)
    assert box.secrets() == secrets
    # A link is replaced, what it pointed to is not touched; no state file is one afterwards.
    now = {key: value for key, value in box.state().items() if ".aside" not in key}
    found = sandbox.differences(case.reference.state, now)
    assert not [line for line in found if not _is_forgotten(line)], "\n".join(found)
    assert box.leftovers() == []
    again = box.install()
    assert (again.code, again.tasks) == (0, 0), str(again)
    assert elsewhere.is_dir()
    box.put_back("finished")


def test_lost_choices(case: Case) -> None:
    """Whoever lost the file of choices and says none goes on with those of the install."""
    case.at_rest()
    box = case.box
    missing(box.state_dir / "settings.json")
    done = box.ask("install", "--yes", "--json")
    assert (done.code, done.tasks) == (0, 0), str(done)
    assert "restored from the installation: profile" in done.err, str(done)
    assert box.answer()
    box.put_back("finished")


def _is_forgotten(line: str) -> bool:
    return any(word in line for word in FORGOTTEN)


def with_more(path: Path) -> None:
    """As the next version may write it: with a kind of resource that nobody here knows."""
    newer(path)
    document = json.loads(path.read_text())
    document["resources"].append({"kind": "moon", "phase_of_it": "full", "origin": "made"})
    path.write_text(json.dumps(document))


@pytest.mark.occasional
@pytest.mark.parametrize(
    "harm",
    [older, pytest.param(with_more, marks=pytest.mark.slow)],
    ids=lambda harm: harm.__name__,
)
def test_reading_loses_nothing(case: Case, harm: Callable[[Path], None]) -> None:
    """Every receipt is of another version: who looks changes none, who installs keeps it all."""
    case.at_rest()
    box = case.box
    secrets, receipts = box.secrets(), box.state_dir / "receipts"
    origins = {path.name: _origins(path) for path in receipts.glob("*.json")}
    for path in receipts.glob("*.json"):
        harm(path)
    before = {path.name: path.read_bytes() for path in receipts.glob("*.json")}
    for verb in ("plan", "status", "doctor", "report"):
        box.ask(verb)
    box.ask("install", "--dry-run", "--yes")
    assert {path.name: path.read_bytes() for path in receipts.iterdir()} == before
    done = box.install()
    assert done.code == 0, str(done)
    assert box.secrets() == secrets
    for name, whole in before.items():
        document = json.loads((receipts / name).read_text())
        assert _origins(receipts / name) == origins[name], name
        aside = receipts / f"{name}.aside"
        if harm is with_more:
            assert [item["kind"] for item in document["foreign"]] == ["moon"], name
            assert aside.read_bytes() == whole
            assert document["invented_later"] == {"a": 1}
        else:
            assert not aside.exists(), name
    again = box.install()
    assert (again.code, again.tasks) == (0, 0), str(again)
    assert box.answer()
    box.put_back("finished")


def _origins(path: Path) -> dict[str, str]:
    """Return who made each resource of a receipt, by what it is."""
    items = json.loads(path.read_text())["resources"]
    return {str(receipt.identity(item)): item["origin"] for item in items if receipt.identity(item)}


def lock_linked(state: Path) -> None:
    (state / "lock").unlink()
    (state / "lock").symlink_to(state / "settings.json")


def lock_directory(state: Path) -> None:
    directory(state / "lock")


def lock_noise(state: Path) -> None:
    noise(state / "lock")


def runs_file(state: Path) -> None:
    shutil.rmtree(state / "runs")
    (state / "runs").write_text("not a directory")


def runs_linked(state: Path) -> None:
    os.replace(state / "runs", state.parent / "runs-elsewhere")
    (state / "runs").symlink_to(state.parent / "runs-elsewhere")


def receipts_file(state: Path) -> None:
    shutil.rmtree(state / "receipts")
    (state / "receipts").write_text("not a directory")


PLACES = [lock_linked, lock_directory, lock_noise, runs_file, runs_linked]


@pytest.mark.parametrize("harm", chosen(PLACES, 1), ids=lambda harm: harm.__name__)
def test_one_place(case: Case, harm: Callable[[Path], None]) -> None:
    """The lock or the folder of runs is something else: it is said, and the install goes on."""
    case.at_rest()
    box = case.box
    secrets = box.secrets()
    settings = (box.state_dir / "settings.json").read_bytes()
    harm(box.state_dir)
    done = box.install("--full")
    assert done.code == 0, str(done)
    assert (box.state_dir / "settings.json").read_bytes() == settings
    assert box.secrets() == secrets
    box.put_back("finished")


@pytest.mark.occasional
def test_receipts_are_no_directory(case: Case) -> None:
    """Nothing can be recorded: warnings, and an install that works."""
    case.at_rest()
    box = case.box
    receipts_file(box.state_dir)
    done = box.install()
    assert done.code == 0, str(done)
    assert "not written" in done.err, str(done)
    assert box.answer()
    box.put_back("finished")
