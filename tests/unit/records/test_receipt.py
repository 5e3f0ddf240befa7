"""Receipts: origin is decided once, nothing is lost by reading, bad ones are a miss."""

import json
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records import receipt
from dream_runner.module_utils.dream_core.records import record_phase as phase_module

STAMP = {"version": "1", "run_id": "r", "install_dir": "/srv/ai"}


def record(state_dir: Path, state: str, **more: Any) -> dict[str, Any]:
    return phase_module.record(
        state_dir=str(state_dir), phase="directories", state=state, stamp=STAMP, **more
    )


def one(state_dir: Path) -> dict[str, Any]:
    receipts, warnings = receipt.read_all(str(state_dir))
    assert warnings == []
    return receipts["directories"]


def test_origin_is_decided_before_the_first_touch_and_kept(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    theirs.write_text("x")
    wanted = [
        {"kind": "file", "path": str(mine), "mode": "0644"},
        {"kind": "file", "path": str(theirs), "mode": "0644"},
    ]
    record(tmp_path, "running", resources=wanted)
    mine.write_text("made by the role")
    record(tmp_path, "done", facts={"n": 1})
    record(tmp_path, "running", resources=wanted)
    origins = {item["path"]: item["origin"] for item in one(tmp_path)["resources"]}
    assert origins == {str(mine): "made", str(theirs): "found"}


def test_interrupted_is_told_once_until_done(tmp_path: Path) -> None:
    assert record(tmp_path, "running")["interrupted"] is False
    assert record(tmp_path, "running")["interrupted"] is True
    record(tmp_path, "done")
    assert record(tmp_path, "running")["interrupted"] is False


def test_facts_survive_an_interrupted_rerun(tmp_path: Path) -> None:
    record(tmp_path, "running")
    record(tmp_path, "done", facts={"engine_port": 11434})
    record(tmp_path, "running")
    assert one(tmp_path)["facts"] == {"engine_port": 11434}


def test_a_resource_no_longer_wanted_is_still_known(tmp_path: Path) -> None:
    old = {"kind": "unit", "scope": "system", "name": "old.service"}
    record(tmp_path, "running", resources=[old])
    record(tmp_path, "done")
    record(tmp_path, "running", resources=[])
    assert [item["name"] for item in one(tmp_path)["resources"]] == ["old.service"]


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    record(tmp_path, "running", write=False)
    assert list(tmp_path.iterdir()) == []


def test_state_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "receipts").write_text("a file where the folder should be")
    assert "not written" in record(tmp_path, "running")["warnings"][0]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"schema": 1, "phase": "models", "state": "done"},
        {"schema": 1, "phase": "directories", "state": "perfect"},
        {"schema": 1, "phase": "directories", "state": "done", "resources": {"a": 1}},
        {"schema": 1, "phase": "directories", "state": "done", "facts": []},
    ],
)
def test_a_receipt_that_is_not_ours_is_a_miss_with_one_warning(
    tmp_path: Path, document: Any
) -> None:
    path = Path(receipt.path_of(str(tmp_path), "directories"))
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    receipts, warnings = receipt.read_all(str(tmp_path))
    assert receipts == {}
    assert len(warnings) == 1
    assert record(tmp_path, "running")["interrupted"] is False
    assert one(tmp_path)["state"] == "running"
    assert json.loads((path.parent / "directories.json.aside").read_text()) == document


MINE = {"kind": "directory", "path": "/srv/ai", "origin": "made"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"schema": 99, "resources": [MINE]}, "schema 99"),
        ({"schema": 99, "resources": [MINE, {"kind": "moon"}]}, "schema 99"),
        (
            {"schema": 1, "resources": [MINE, {"kind": "moon"}]},
            "lists 1 resources in an unknown form",
        ),
        (
            {"schema": 2, "resources": [MINE, {"kind": "file", "path": "/x", "origin": "stolen"}]},
            "lists 1 resources in an unknown form",
        ),
    ],
)
def test_what_is_understood_of_a_foreign_receipt_is_kept_and_the_rest_is_not_lost(
    tmp_path: Path, document: dict[str, Any], words: str
) -> None:
    path = Path(receipt.path_of(str(tmp_path), "directories"))
    path.parent.mkdir()
    whole = {"phase": "directories", "state": "done", "inputs": {"a": "b"}, **document}
    path.write_text(json.dumps(whole))
    receipts, warnings = receipt.read_all(str(tmp_path))
    assert words in warnings[0]
    assert receipts["directories"]["resources"] == [MINE]
    record(tmp_path, "running", resources=[{"kind": "directory", "path": "/srv/ai"}])
    record(tmp_path, "done")
    after = one(tmp_path)
    assert [item["origin"] for item in after["resources"]] == ["made"]
    assert after.get("foreign", []) == [item for item in document["resources"] if item != MINE]
    aside = path.parent / "directories.json.aside"
    assert aside.exists() is (document["schema"] == 99)


def test_a_newer_receipt_is_no_proof_of_the_inputs(tmp_path: Path) -> None:
    path = Path(receipt.path_of(str(tmp_path), "models"))
    path.parent.mkdir()
    newer = {"schema": 99, "phase": "models", "state": "done", "inputs": {"content": "x"}}
    path.write_text(json.dumps(newer))
    receipts, _ = receipt.read_all(str(tmp_path))
    assert receipts["models"]["inputs"] is None


def test_a_file_that_was_there_can_be_restored_as_it_was(tmp_path: Path) -> None:
    theirs = tmp_path / "daemon.json"
    theirs.write_text("theirs")
    theirs.chmod(0o640)
    wanted = [{"kind": "file", "path": str(theirs), "mode": "0644"}]
    record(tmp_path, "running", resources=wanted)
    theirs.write_text("ours")
    record(tmp_path, "done")
    record(tmp_path, "running", resources=wanted)
    original = one(tmp_path)["resources"][0]["original"]
    assert original["mode"] == "0640"
    kept = tmp_path / "originals" / original["sha256"]
    assert kept.read_text() == "theirs"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    record(tmp_path, "running")
    path = Path(receipt.path_of(str(tmp_path), "directories"))
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"from_the_future": 1}))
    record(tmp_path, "done")
    assert one(tmp_path)["from_the_future"] == 1


def test_the_next_phase_is_the_first_not_done() -> None:
    done = {name: {"state": "done"} for name in PHASES}
    assert receipt.next_phase(done) is None
    assert receipt.next_phase(done | {"models": {"state": "running"}}) == "models"
    assert receipt.next_phase({}) == "preflight"
    assert receipt.interrupted(done | {"models": {"state": "running"}}) == ["models"]
