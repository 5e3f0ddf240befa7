"""Runs as a run leaves them: of one machine, of a fleet, good and bad. No clock, no chance."""

import json
import math
from pathlib import Path
from typing import Any

from dream_runner.decide.plan import Step
from dream_runner.fleet.results import FleetOutcome
from dream_runner.module_utils.dream_core.errors import DreamError, NetworkError
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.report import record
from dream_runner.run.events import (
    Event,
    Notice,
    PhaseFinished,
    PhaseStarted,
    Progress,
    TaskFinished,
    TaskStarted,
)
from dream_runner.run.journal import Journal
from dream_runner.run.results import HostResult

BEGAN = 1_795_000_000.0
#: How long each phase takes, in seconds.
LONG = {"preflight": 5.1, "requirements": 8.0, "docker": 41.0, "images": 62.0, "models": 190.0,
        "services": 38.0, "health": 12.5}  # fmt: skip

FACTS: dict[str, Any] = {
    "os": {"pretty_name": "Debian GNU/Linux 13 (trixie)", "kernel": "6.12.8", "container": None},
    "arch": "amd64",
    "init": {"system": "systemd", "pid1": "systemd"},
    "cpu": {"model": "AMD Ryzen 9 7950X", "cores": 16, "threads": 32},
    "memory": {"total_mb": 64010},
    "gpus": [
        {"name": "NVIDIA RTX 4090", "memory_mb": 24564, "memory_class": "discrete", "usable": True}
    ],
    "backend": "nvidia",
    "findings": [
        {
            "id": "secure-boot",
            "severity": "warning",
            "what": "Secure Boot is on: a driver that is not signed will not load.",
            "hint": "enrol the key of the driver, or use the driver of the distribution",
        }
    ],
    "mounts": [{"path": "/secret-mount", "fstype": "ext4", "device": "/dev/sda1"}],
}
CHOICE: dict[str, Any] = {
    "tier": {
        "id": "T3",
        "name": "Workstation",
        "rule": "nvidia_24gb",
        "reason": "one nvidia GPU with 24 GB of its own memory",
        "overridden": False,
    },
    "model": {
        "id": "qwen3-30b-a3b",
        "name": "Qwen3 30B A3B",
        "why": "the largest of the tier that fits with 32k of context",
        "size_bytes": 18_600_000_000,
        "urls": ["https://user:hunter2@host/model.gguf?token=hunter2"],
    },
}
STEPS = [
    Step(phase, "never ran") if phase in LONG or phase == "summary" else Step(phase, "unchanged")
    for phase in PHASES
]


def host_events(
    host: str, began: float = BEGAN, fails_in: str = "", pace: float = 1.0, stops_in: str = ""
) -> list[Event]:
    """Return the events of an install that may fail, or stop being heard of, in a phase."""
    made: list[Event] = []
    now = began
    for phase in PHASES:
        if phase not in LONG and phase != "summary":
            made.append(PhaseFinished(now, host, phase, "unchanged", 0, 0.0, "unchanged"))
            continue
        long = LONG.get(phase, 1.0) * pace
        made.append(PhaseStarted(now, host, phase))
        names = ("Look at what is there", "Do the long part of the work", "Record it")
        for name, share in zip(names, (0.1, 0.8, 0.1), strict=True):
            task = f"{phase} : {name}"
            made.append(TaskStarted(now, host, phase, task))
            if phase == "models" and share > 0.5:
                made += _fetch(host, now, long * share)
            now += long * share
            if stops_in == phase and share > 0.5:
                return made
            if fails_in == phase and share > 0.5:
                message = f"could not reach the registry from {host}: connection reset by peer"
                made.append(TaskFinished(now, host, phase, task, "failed", long * share,
                                         "dream_model", message, _error(message)))  # fmt: skip
                made.append(PhaseFinished(now, host, phase, "failed", 0, long, ""))
                return made
            status = "changed" if share > 0.5 and phase not in ("preflight", "health") else "ok"
            made.append(TaskFinished(now, host, phase, task, status, long * share, "dream_x"))
        changed = int(phase not in ("preflight", "health"))
        state = "changed" if changed else "ok"
        made.append(PhaseFinished(now, host, phase, state, changed, long, ""))
    return made


def _fetch(host: str, began: float, seconds: float) -> list[Event]:
    size, points = 18_600_000_000, 300
    weights = [1.3 + math.sin(n / 23) - (1.1 if 140 < n < 160 else 0) for n in range(points)]
    total, done, made = sum(weights), 0.0, []
    for number, weight in enumerate(weights):
        time = began + seconds * number / points
        made.append(Progress(time, host, "models", "qwen3-30b.gguf", int(done), size, 1.0))
        done += size * weight / total
    made.append(Progress(began + seconds, host, "models", "qwen3-30b.gguf", size, size, 1.0))
    return list(made)


def _error(what: str) -> DreamError:
    return NetworkError(
        what,
        code="NETWORK_FAILED",
        where="phase images, task 'Pull'",
        hint="check the connection or the proxy, then run again: it continues",
    )


def one(
    folder: Path, *, fails_in: str = "", stops_in: str = "", extra: tuple[Event, ...] = ()
) -> Path:
    """Leave a run of one machine in ``folder``."""
    record.planned(folder, FACTS, CHOICE, STEPS, host="atlas")
    with Journal(folder) as journal:
        for event in (*host_events("localhost", fails_in=fails_in, stops_in=stops_in), *extra):
            journal.take(event)
    if not stops_in:
        error = _error("connection reset by peer") if fails_in else None
        outcome = {"outcome": "failed" if error else "done", "exit_code": 5 if error else 0,
                   "error": error.to_dict() if error else None, "seconds": 360.2}  # fmt: skip
        record.ended(folder, "install", outcome)
    return folder


def fleet(folder: Path, count: int) -> Path:
    """Leave a run of ``count`` hosts: every ninth fails, every seventh had nothing to do."""
    results = []
    for number in range(count):
        name = f"node-{number:03d}.lab.example"
        error, changed, fails_in = None, 6, ""
        record.planned(folder / "hosts" / name, FACTS, CHOICE, STEPS, host=name)
        if number % 7 == 3:
            results.append(HostResult(name, "unchanged", "preflight"))
            continue
        if number == count - 1:
            results.append(HostResult(name, "untouched"))
            continue
        if number % 9 == 4:
            fails_in = "images" if number % 2 else "docker"
            error, changed = _error(f"connection reset by peer, attempt {number}"), 1
        began = BEGAN + (number // 12) * 60 + number % 12
        with Journal(folder / "hosts" / name) as journal:
            for event in host_events(name, began, fails_in, 0.7 + (number * 37 % 60) / 100):
                journal.take(event)
        stage = "canary" if number < 2 else f"wave {1 + number // 24}"
        results.append(HostResult(name, "failed" if error else "done", stage, error, changed))
    traffic = {"origin_bytes": 18_600_000_000, "served_bytes": 300_000_000_000}
    outcome = FleetOutcome("install", folder.name, str(folder), results, 912.0, traffic=traffic)
    (folder / "report.json").write_text(json.dumps(outcome.to_dict()))
    return folder


def notice(level: str, text: str) -> Notice:
    """Return a line that a run said."""
    return Notice(BEGAN + 1, "localhost", level, text)
