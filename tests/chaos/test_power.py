"""The power fails: what was not synced is gone, and the next install repairs it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures import fetching

from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.system.atomic import TEMP_PREFIX

from . import places, sandbox, trace, victims
from .cases import Case, chosen

pytestmark = pytest.mark.timeout(900)


def test_every_state_file_is_synced_before_and_after_its_rename(case: Case, tmp_path: Path) -> None:
    """A whole install under strace: content, rename, directory, in this order."""
    places.need("strace")
    box = case.box
    box.wipe()
    record = tmp_path / "calls"
    done = box.finish(box.start(before=trace.recorder(record, beside=True)), 800)
    assert done.code == 0, str(done)
    # With the last process that it follows the tracer ends, too.
    for pid in sandbox.service_pids(box.home):
        os.kill(pid, signal.SIGKILL)
    victims.wait_until_gone(box)
    calls = list(trace.parse(record.read_text(errors="replace").splitlines()))
    ours = {target for source, target in trace.renames(calls) if TEMP_PREFIX in source}
    state = box.state_dir
    wanted = {state / "receipts" / f"{phase}.json" for phase in PHASES}
    wanted |= {state / "settings.json", state / "facts.json", box.install_dir / ".env"}
    wanted |= {box.install_dir / "data" / "models" / "smoke.gguf"}
    assert {str(path) for path in wanted} <= ours | {str(wanted_model(box.install_dir))}
    assert trace.unsafe(calls, (ours | {str(wanted_model(box.install_dir))}).__contains__) == []
    in_place = {Path(name) for name in trace.written_in_place(calls, state)}
    assert [
        path for path in in_place if path.name != "lock" and state / "runs" not in path.parents
    ] == []
    case.recover()


def wanted_model(install_dir: Path) -> Path:
    return install_dir / "data" / "models" / "smoke.gguf"


def test_a_fetch_is_synced_before_it_counts(tmp_path: Path) -> None:
    """The journal of a fetch is never made durable before the bytes that it vouches for."""
    places.need("strace")
    thing = fetching.make_thing(60 * 1024 * 1024)
    record, target = tmp_path / "calls", tmp_path / "model.gguf"
    with thing.villain(rate=5_000_000) as server:
        words = {
            "path": str(target),
            "sha256": thing.sha256,
            "sources": [server.url("paced")],
            "size_bytes": len(thing.content),
            "connections": 4,
        }
        child = [sys.executable, "-c", fetching.CHILD, str(fetching.ROOT), json.dumps(words)]
        subprocess.run([*trace.recorder(record), *child], check=True, capture_output=True)
    calls = list(trace.parse(record.read_text(errors="replace").splitlines()))
    part, sidecar = f"{target}.part", f"{target}.part.json"
    syncs = [call.paths[0] for call in calls if call.name in ("fsync", "fdatasync")]
    durable = [name for name in syncs if name in (part, sidecar)]
    # The header of the sidecar is synced before there is a byte to vouch for.
    assert durable.count(sidecar) >= 1
    for before, name in itertools.pairwise(durable):
        assert name != sidecar or before == part, durable
    assert (part, str(target)) in trace.renames(calls)
    assert trace.unsafe(calls, {str(target)}.__contains__) == []


@pytest.mark.parametrize("number", chosen(range(12), 1))
def test_power_cut(case: Case, tmp_path: Path, number: int) -> None:
    """HOME on a disk of its own: a copy of the disk is what a cut at that instant leaves."""
    box = case.box
    before, after = tmp_path / "before.img", tmp_path / "after.img"
    instant = case.dice.uniform(0.1, 1.0) * case.reference.seconds
    case.tell(f"power cut {number}: after {instant:.2f} of {case.reference.seconds:.2f} s")
    box.wipe()
    with places.disk(before, box.home):
        box.wipe()
        places.run("sync", "-f", str(box.home))
        run = box.start()
        time.sleep(instant)
        victims.stop(run)
        places.run("cp", "--sparse=always", str(before), str(after))
        victims.kill(run)
        box.end_services()
    with places.mounted(after, box.home):
        kept = [path for path in box.home.rglob("*") if path.is_file()]
        empty = [path for path in kept if not path.stat().st_size]
        case.tell(f"{len(kept)} files are left, {len(empty)} of them empty")
        try:
            case.recover_somehow()
        finally:
            box.wipe()
    after.unlink()
