"""dream_facts as a real AnsibleModule: check, run, check, run; it never says changed."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import ansible.module_utils
import pytest
import yaml
from ansible.module_utils import basic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def module(monkeypatch):
    """Return a function that runs the module in this process and gives its result."""
    path = [*ansible.module_utils.__path__, str(ROOT / "dream_runner" / "module_utils")]
    monkeypatch.setattr(ansible.module_utils, "__path__", path)
    spec = importlib.util.spec_from_file_location("dream_facts", ROOT / "library/dream_facts.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)

    def run(check=False, **arguments):
        given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        output = io.StringIO()
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(SystemExit) as ended:
            loaded.main()
        monkeypatch.undo()
        monkeypatch.setattr(ansible.module_utils, "__path__", path)
        return ended.value.code, json.loads(output.getvalue())

    return run


def test_check_run_check_run(module, tmp_path):
    state = tmp_path / "state"
    seen = []
    for check in (True, False, True, False):
        code, result = module(check=check, state_dir=str(state))
        assert code == 0
        assert result["changed"] is False
        seen.append(result["source"])
        assert state.exists() is (len(seen) > 1)
    assert seen == ["gathered", "gathered", "cache", "cache"]


def test_force_looks_again(module, tmp_path):
    module(state_dir=str(tmp_path))
    assert module(state_dir=str(tmp_path), force=True)[1]["source"] == "gathered"


def test_an_aged_cache_is_not_used(module, tmp_path):
    module(state_dir=str(tmp_path))
    _, result = module(state_dir=str(tmp_path), max_age_seconds=-1)
    assert result["source"] == "gathered"
    assert "hours old" in result["warning"]


def test_trouble_with_the_cache_is_a_warning(module, tmp_path):
    (tmp_path / "facts.json").write_text("{")
    code, result = module(state_dir=str(tmp_path))
    assert code == 0
    assert "not used" in result["warning"]
    assert result["facts"]["schema"] == "dream-runner.facts/1"


def test_state_dir_is_needed(module):
    code, result = module()
    assert code == 1
    assert "state_dir" in result["msg"]


def test_documentation_names_every_argument(module):
    text = (ROOT / "library" / "dream_facts.py").read_text()
    documentation = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])
    returned = yaml.safe_load(text.split('RETURN = r"""')[1].split('"""')[0])
    assert set(documentation["options"]) == {
        "state_dir", "force", "max_age_seconds", "version", "install_dir"
    }  # fmt: skip
    assert set(returned) == {"facts", "source", "warning"}


def test_nvml_source_is_found_inside_a_zip(tmp_path):
    """Ansible ships module_utils in a zip; the NVML program is run from its source there."""
    core = ROOT / "dream_runner" / "module_utils" / "dream_core"
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as bundle:
        for path in core.rglob("*.py"):
            bundle.write(path, f"dream_core/{path.relative_to(core)}")
    code = "from dream_core.facts import nvml, gather; gather(); print(nvml.source()[:40])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "bundle.zip")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('"""Ask NVIDIA')
