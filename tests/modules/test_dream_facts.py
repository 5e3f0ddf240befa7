"""dream_facts as a real module: check, run, check, run; it never says changed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from .conftest import Run

ROOT = Path(__file__).parents[2]


def test_check_run_check_run(run_module: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    seen = []
    for check in (True, False, True, False):
        result = run_module("dream_facts", check=check, state_dir=str(state))
        assert "failed" not in result
        assert result["changed"] is False
        seen.append(result["source"])
        assert state.exists() is (len(seen) > 1)
    assert seen == ["gathered", "gathered", "cache", "cache"]


def test_force_looks_again(run_module: Run, tmp_path: Path) -> None:
    run_module("dream_facts", state_dir=str(tmp_path))
    result = run_module("dream_facts", state_dir=str(tmp_path), force=True)
    assert result["source"] == "gathered"


def test_an_aged_cache_is_not_used(run_module: Run, tmp_path: Path) -> None:
    run_module("dream_facts", state_dir=str(tmp_path))
    result = run_module("dream_facts", state_dir=str(tmp_path), max_age_seconds=-1)
    assert result["source"] == "gathered"
    assert "hours old" in result["warning"]


def test_trouble_with_the_cache_is_a_warning(run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text("{")
    result = run_module("dream_facts", state_dir=str(tmp_path))
    assert "failed" not in result
    assert "not used" in result["warning"]
    assert result["facts"]["schema"] == "dream-runner.facts/1"


def test_the_facts_are_published_for_later_tasks(run_module: Run, tmp_path: Path) -> None:
    result = run_module("dream_facts", state_dir=str(tmp_path))
    assert result["ansible_facts"] == {"dream_host": result["facts"]}


def test_state_dir_is_needed(run_module: Run) -> None:
    result = run_module("dream_facts")
    assert result["failed"] is True
    assert "state_dir" in result["msg"]


def test_documentation_names_every_argument() -> None:
    text = (ROOT / "library" / "dream_facts.py").read_text()
    documentation = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])
    returned = yaml.safe_load(text.split('RETURN = r"""')[1].split('"""')[0])
    assert set(documentation["options"]) == {
        "state_dir", "force", "max_age_seconds", "version", "install_dir"
    }  # fmt: skip
    assert set(returned) == {"ansible_facts", "facts", "source", "warning"}
    assert set(documentation["attributes"]["check_mode"]) == {"description", "support"}


def test_nvml_source_is_found_inside_a_zip(tmp_path: Path) -> None:
    """Ansible ships module_utils in a zip; the NVML program is run from its source there."""
    core = ROOT / "dream_runner" / "module_utils" / "dream_core"
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as bundle:
        for path in core.rglob("*.py"):
            bundle.write(path, f"dream_core/{path.relative_to(core)}")
    code = (
        "from dream_core.facts import nvml, probe_system;"
        "probe_system.gather(); print(nvml.source()[:40])"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "bundle.zip")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('"""Query NVIDIA')
