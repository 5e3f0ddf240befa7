"""What install does is what plan said, whatever has happened before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from .here import Here, here, kill

pytestmark = pytest.mark.timeout(1200)


def agree(
    place: Here, *flags: str, how: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Plan, install, and compare: phases, downloads, ports, changes; then plan once more."""
    first = flags or ("--profile", "native", "--model", "smoke")
    if not (place.state / "settings.json").exists():
        first += ("--install-dir", str(place.dream), "--engine-port", str(place.port))
    said = place.run("plan", "--json", "--exit-code", *(flags or first), *how)
    plan = said.json()
    due = {step["phase"] for step in plan["steps"] if step["why"] != "unchanged"}
    assert said.code == (20 if plan["changes_pending"] else 0)
    assert plan["changes_pending"] == bool(due or plan["fetch_bytes"])
    models = place.dream / "data" / "models"
    engine = listening(place)
    before = {path.name: path.stat().st_ino for path in models.glob("*.gguf")}
    done = place.install(*flags, *how)
    assert done.code == 0, str(done)
    ran = {phase: state for phase, state in place.phases(done).items() if state != "unchanged"}
    assert set(ran) == due
    after = {path.name: path.stat().st_ino for path in models.glob("*.gguf")}
    fetched = {name for name, inode in after.items() if before.get(name) != inode}
    assert fetched == {item["what"] for item in plan["downloads"] if item["present_bytes"] == 0}
    assert (done.json()["tasks"]["changed"] > 0) <= plan["changes_pending"]
    # What ran before and was started anew was told of.
    if engine and listening(place) != engine:
        assert plan["restarts"]
    for port in plan["ports"]:
        assert port.split(" ")[0] in done.json()["summary"]["urls"]["chat"]
    now = place.run("plan", "--json", "--exit-code").json()
    assert (now["changes_pending"], now["fetch_bytes"], now["packages"]) == (False, 0, [])
    assert (now["disk"], now["restarts"]) == ([], [])
    return plan, ran


def listening(place: Here) -> set[int]:
    """Return who listens on the engine's port: by process, as one started anew is another."""
    return {
        item.pid
        for item in psutil.net_connections("tcp")
        if item.pid and item.status == psutil.CONN_LISTEN and item.laddr.port == place.port
    }


def reasons(plan: dict[str, Any]) -> dict[str, str]:
    return {step["phase"]: step["why"] for step in plan["steps"]}


@pytest.mark.slow
def test_plan_and_install_agree_over_the_life_of_an_install(tmp_path: Path) -> None:
    with here(tmp_path / "home") as place:
        plan, ran = agree(place)
        assert set(reasons(plan).values()) == {"never ran"}
        assert len(ran) == 14
        plan, ran = agree(place)
        assert ran == {}
        (place.dream / "config" / "engine" / "engine.json").write_text("{}")
        plan, ran = agree(place)
        assert reasons(plan)["services"] == "differs"
        assert ran["services"] == "changed"
        plan, ran = agree(place, "--context-tokens", "512")
        assert reasons(plan)["services"] == "changed"
        assert "directories" in ran
        assert plan["fetch_bytes"] == 0
        (place.dream / "data" / "models" / "smoke.gguf").unlink()
        plan, ran = agree(place)
        assert plan["fetch_bytes"] == 517504
        assert ran["models"] == "changed"


@pytest.mark.slow
def test_plan_and_install_agree_after_a_kill(tmp_path: Path) -> None:
    """With ``--resume`` both go on; without a terminal and without it both begin anew."""
    with here(tmp_path / "home") as place:
        done = place.install()
        assert done.code == 0, str(done)
        interrupt(place, "services")
        plan, ran = agree(place, how=("--resume",))
        assert reasons(plan)["services"] == "interrupted"
        assert "directories" not in ran
        interrupt(place, "services")
        plan, ran = agree(place)
        assert len(ran) == 14
        assert reasons(plan)["services"] == "interrupted"


def interrupt(place: Here, phase: str) -> None:
    """Kill a run of every phase while it is in ``phase``."""
    run = place.start("install", "--yes", "--full")
    path = place.state / "receipts" / f"{phase}.json"
    deadline = time.monotonic() + 300
    while '"state": "running"' not in path.read_text():
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.02)
    kill(run)
