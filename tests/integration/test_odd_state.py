"""Every verb that needs no Ansible works with a state directory whose files hold other types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.phases import PHASES

#: What each verb may end with here: nothing is installed, or nothing is known of it.
CODES = {
    ("status", "--json"): {3},
    ("plan", "--json"): {0, 3, 5, 20},
    ("doctor",): {0, 11},
    ("uninstall", "--dry-run", "--purge"): {0, 2},
}


def whole(phase: str) -> dict[str, Any]:
    return {"schema": 2, "phase": phase, "state": "done", "install_dir": "/srv/ai", "version": "1"}


def odd_states(state: Path, kind: str) -> None:
    """Fill the state directory with documents that parse and have another form."""
    values: dict[str, Any] = {"list": [1, {"a": None}], "number": 10**60, "text": "x"}
    for phase in PHASES:
        document: Any = values.get(kind)
        if kind == "fields":
            odd: Any = [{"path": 7}, {"kind": ["file"]}]
            document = dict(whole(phase), resources=odd, facts={"degraded": 7}, inputs=[1])
        path = state / "receipts" / f"{phase}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    for name in ("settings.json", "facts.json", "proved/manifest.json", "lock"):
        path = state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        odd = {"schema": 1, "values": {"engine_port": [], "model": {}}, "sources": 7}
        path.write_text(json.dumps(odd if kind == "fields" else values[kind]))


@pytest.mark.parametrize("kind", ["list", "fields"])
def test_verbs_go_on_with_state_of_other_types(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    state = tmp_path / "state" / "dream-runner"
    odd_states(state, kind)
    environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(state.parent)}
    for verb, codes in CODES.items():
        done = subprocess.run(
            [sys.executable, "-m", "dream_runner", *verb],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode in codes, (verb, done.returncode, said[-2000:])
        assert "Traceback" not in said
        assert "UNEXPECTED" not in said
        assert len(said) < 100_000
