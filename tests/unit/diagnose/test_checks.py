"""Every check of the doctor, given one thing that is wrong and nothing else."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dream_runner.diagnose import checks, finding
from dream_runner.module_utils.dream_core.fetch.disk.journal import Binding, Journal
from dream_runner.module_utils.dream_core.records import receipt

NOW = 1_800_000_000.0


def place(tmp_path: Path, **more: Any) -> finding.Place:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    receipts, warnings = receipt.read_all(str(state))
    given = {"now": NOW, "root": str(tmp_path / "root"), **more}
    return finding.Place(str(state), receipts, warnings, **given)


def write(tmp_path: Path, phase: str, **more: Any) -> None:
    document = {
        "schema": 2,
        "phase": phase,
        "state": "done",
        "install_dir": str(tmp_path / "dream"),
        "resources": [],
        "facts": {},
        **more,
    }
    assert receipt.write(str(tmp_path / "state"), document) is None


def found(tmp_path: Path, check: str, **more: Any) -> list[tuple[str, str]]:
    """Return id and severity of what one check finds; each tells evidence and remedy."""
    findings = list(checks.CHECKS[check](place(tmp_path, **more)))
    assert all(item.evidence and item.remedy for item in findings)
    return [(item.id, item.severity) for item in findings]


def test_nothing_is_wrong_where_nothing_is(tmp_path: Path) -> None:
    host = {"disk", "memory", "certificates"}
    assert {name: found(tmp_path, name) for name in checks.CHECKS if name not in host} == {
        name: [] for name in checks.CHECKS if name not in host
    }


def test_a_clock_that_was_never_set_or_went_back(tmp_path: Path) -> None:
    assert found(tmp_path, "clock", now=0.0) == [("clock", "error")]
    write(tmp_path, "models", finished_at="2033-01-01T00:00:00Z")
    assert found(tmp_path, "clock") == [("clock", "warning")]


def device(tmp_path: Path, name: str, kind: str, vendor: str) -> None:
    folder = tmp_path / "root" / "sys" / "bus" / "pci" / "devices" / name
    folder.mkdir(parents=True)
    (folder / "class").write_text(kind + "\n")
    (folder / "vendor").write_text(vendor + "\n")


@pytest.mark.parametrize(
    ("backend", "card", "file", "findings"),
    [
        ("nvidia", "", "", [("gpu", "error")]),
        ("nvidia", "0x10de", "", [("gpu-driver", "error")]),
        ("nvidia", "0x10de", "proc/driver/nvidia/version", []),
        ("cpu", "0x10de", "", [("gpu-driver", "warning")]),
        ("amd", "0x1002", "", [("gpu-driver", "error")]),
        ("amd", "0x1002", "dev/kfd", []),
        ("cpu", "", "", []),
    ],
)
def test_cards_and_their_drivers(
    tmp_path: Path, backend: str, card: str, file: str, findings: list[Any]
) -> None:
    write(tmp_path, "detection", facts={"backend": backend})
    device(tmp_path, "0000:00:01.0", "0x020000", "0x8086")
    if card:
        device(tmp_path, "0000:01:00.0", "0x030000", card)
    if file:
        (tmp_path / "root" / file).parent.mkdir(parents=True)
        (tmp_path / "root" / file).touch()
    assert found(tmp_path, "gpu") == findings


def test_partials_of_this_and_of_another_model(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    resource = {"kind": "model", "path": str(model), "sha256": "0" * 64, "origin": "made"}
    write(tmp_path, "models", resources=[resource])
    for name, digest in (("m.gguf", "0" * 64), ("m.gguf.1111", "1" * 64)):
        (tmp_path / f"{name}.part").write_bytes(b"half")
        journal = Journal(str(tmp_path / f"{name}.part.json"), Binding(digest, 8))
        journal.open()
        journal.close()
    assert found(tmp_path, "partials") == [("partials-other", "warning"), ("partials", "warning")]


def test_a_model_that_is_to_take_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partial is nobody's leftover, and its unit is judged by what it is at."""
    upgrade = {"model": "big", "sha256": "0" * 64, "files": [], "until": "small"}
    upgrade |= {"unit": "dream-runner-upgrade.service", "scope": "system"}
    model = tmp_path / "m.gguf"
    resources = [
        {"kind": "model", "path": str(model), "sha256": "0" * 64, "origin": "made", "coming": True},
        {"kind": "unit", "name": upgrade["unit"], "scope": "system", "origin": "made"},
    ]
    resources[1]["seen"] = {"present": True, "active": "active"}
    write(tmp_path, "models", resources=resources, facts={"upgrade": upgrade})
    (tmp_path / "m.gguf.part").write_bytes(b"half")
    journal = Journal(str(tmp_path / "m.gguf.part.json"), Binding("0" * 64, 8))
    journal.open()
    journal.close()
    assert found(tmp_path, "partials") == []
    for state, severity in (("failed", "error"), ("inactive", "warning")):
        shown = {"ActiveState": state, "InvocationID": "x"}
        monkeypatch.setattr(checks.progress, "show_program", lambda *_, shown=shown: shown)
        assert found(tmp_path, "upgrade") == [("upgrade", severity)]
    assert found(tmp_path, "services") == []


def test_what_a_killed_run_left(tmp_path: Path) -> None:
    path = tmp_path / "dream" / "config"
    path.parent.mkdir()
    (path.parent / ".dream-tmp-config").touch()
    write(tmp_path, "services", resources=[file(path)])
    assert found(tmp_path, "leftovers") == [("leftovers", "warning")]


def file(path: Path, **more: Any) -> dict[str, Any]:
    return {"kind": "file", "path": str(path), "origin": "made", **more}


def test_drift_is_told_of_phases_that_ended(tmp_path: Path) -> None:
    gone = file(tmp_path / "gone", seen={"present": True})
    write(tmp_path, "services", resources=[gone])
    write(tmp_path, "models", resources=[gone], state="running")
    assert found(tmp_path, "drift") == [("drift", "error")]
    assert found(tmp_path, "interrupted") == [("interrupted", "warning")]


def test_a_stranger_on_our_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write(tmp_path, "services", resources=[{"kind": "port", "port": port, "origin": "made"}])
        assert found(tmp_path, "ports") == [("ports", "error")]


def test_a_service_that_stopped(tmp_path: Path) -> None:
    unit = {"kind": "unit", "name": "dream-none.service", "scope": "system", "origin": "made"}
    write(tmp_path, "services", resources=[dict(unit, seen={"present": True, "active": "active"})])
    assert found(tmp_path, "services") == [("services", "error")]


def test_a_container_engine_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where containers are ours; by its silence, and by the words of its own program."""
    program = tmp_path / "engine"
    program.write_text("#!/bin/sh\necho Cannot connect >&2; exit 1\n")
    program.chmod(0o755)
    write(tmp_path, "docker", facts={"command": str(program)})
    assert found(tmp_path, "container-engine") == []
    box = {"kind": "container", "project": "p", "service": "s", "origin": "made"}
    write(tmp_path, "services", resources=[box])
    assert found(tmp_path, "container-engine") == [("container-engine", "error")]
    program.write_text('#!/bin/sh\necho \'{"ServerErrors": ["no daemon"]}\'\n')
    assert found(tmp_path, "container-engine") == [("container-engine", "error")]
    program.write_text('#!/bin/sh\necho \'{"ServerVersion": "1"}\'\n')
    assert found(tmp_path, "container-engine") == []
    program.unlink()
    write(tmp_path, "docker", facts={"command": str(program), "become": True})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert found(tmp_path, "container-engine") == [("container-engine", "warning")]


def test_failed_degraded_and_unreadable(tmp_path: Path) -> None:
    write(tmp_path, "images", facts={"degraded": {"voice": "no image"}})
    write(tmp_path, "health", state="failed")
    assert found(tmp_path, "failed") == [("degraded", "warning"), ("failed", "error")]
    Path(receipt.path_of(str(tmp_path / "state"), "docker")).write_text("{")
    assert found(tmp_path, "records") == [("records", "warning")]


def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    secret = tmp_path / ".env"
    secret.write_text("A=1")
    secret.chmod(0o644)
    write(tmp_path, "directories", resources=[file(secret, secret=True)])
    assert found(tmp_path, "secrets") == [("secrets", "error")]


def test_little_memory_a_broken_dpkg_and_hardware_findings(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text("MemTotal: 1000000 kB\nMemAvailable: 10000 kB\n")
    assert found(tmp_path, "memory") == [("memory", "warning")]
    (root / "var/lib/dpkg/updates").mkdir(parents=True)
    (root / "var/lib/dpkg/updates/0001").touch()
    assert found(tmp_path, "packages") == [("packages", "error")]
    facts = {"findings": [{"id": "X", "severity": "error", "what": "w", "hint": "h"}]}
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "facts.json").write_text(json.dumps(facts))
    assert found(tmp_path, "hardware") == [("hardware", "warning")]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = {"read_only": True, "free_bytes": 10, "mount": "/", "fstype": "ext4"}
    monkeypatch.setattr(checks.filesystems, "filesystem", lambda path: full)
    few = os.statvfs_result((4096, 4096, 10, 1, 1, 1000, 5, 5, 0, 255))
    monkeypatch.setattr(checks.os, "statvfs", lambda path: few)
    wanted = [("disk", "error"), ("disk", "warning"), ("disk-inodes", "warning")]
    assert found(tmp_path, "disk") == wanted


def test_certificates_that_have_all_expired(tmp_path: Path) -> None:
    assert found(tmp_path, "certificates") == []
    assert found(tmp_path, "certificates", now=5e9) == [("certificates", "error")]


def test_it_never_raises_on_a_broken_host(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("a file where a directory belongs")
    findings = checks.examine(str(state), {}, root=str(tmp_path / "nowhere"))
    assert {item.id for item in findings} >= {"records", "clock"}
