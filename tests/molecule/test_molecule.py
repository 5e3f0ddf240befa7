"""Every scenario through molecule: check, converge, idempotence, verify, drift, and again.

CI has time for one of them, and that without check and drift: DREAM_TEST_MOLECULE=1 for all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nodes.podman import Podman

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/molecule.yml"))
ALWAYS = ("native-alternative",)
ALL = os.environ.get("DREAM_TEST_MOLECULE") == "1"
#: Each does what comes before it, where that was not done.
VERBS = ("test",) if ALL else ("converge", "idempotence", "verify")


def molecule(verb: str, scenario: str) -> subprocess.CompletedProcess[str]:
    # This environment's molecule, wherever PATH leads. Its nodes belong to this session: whoever
    # comes next removes them, if it is killed.
    binaries = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "DREAM_NODE_OWNER": str(os.getpid()),
        "NO_COLOR": "1",
    }
    program = shutil.which("molecule", path=environment["PATH"])
    assert program, "molecule is in the dev extra of pyproject.toml"
    command = [program, "--base-config", "molecule/base.yml", verb, "-s", scenario]
    return subprocess.run(
        command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=1500
    )


@pytest.mark.node
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, podman: Podman) -> None:
    if scenario not in ALWAYS and not ALL:
        pytest.skip("set DREAM_TEST_MOLECULE=1 for every scenario")
    # What molecule noted of nodes that a killed run left would stand for nodes of today.
    molecule("destroy", scenario)
    try:
        for verb in VERBS:
            done = molecule(verb, scenario)
            assert done.returncode == 0, (done.stdout + done.stderr)[-12000:]
    finally:
        gone = molecule("destroy", scenario)
    assert gone.returncode == 0, gone.stdout + gone.stderr
