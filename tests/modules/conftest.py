"""Run a module of ours as Ansible would, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths

RUNNER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import ansible.module_utils, pathlib
ansible.module_utils.__path__.append(sys.argv[2])
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
import runpy
sys.argv = [sys.argv[3]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run_module() -> Run:
    """Return ``run(name, check=False, **arguments)``, which gives the module's result."""

    def run(name: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        path = paths.content() / "library" / f"{name}.py"
        options = {
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": "/tmp",
            "_ansible_keep_remote_files": False,
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                RUNNER,
                str(path.parent),
                str(paths.PACKAGE / "module_utils"),
                str(path),
            ],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments | options}).encode(),
            capture_output=True,
            timeout=240,
            check=False,
        )
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(done.stderr.decode() or done.stdout.decode()) from None
        return result

    return run


@pytest.fixture
def twice(run_module: Run) -> Run:
    """Check, run, check, run: what would change, changes once, and then never again."""

    def run(name: str, **arguments: Any) -> dict[str, Any]:
        assert run_module(name, check=True, **arguments)["changed"] is True
        first = run_module(name, **arguments)
        assert first.get("failed") is not True, first
        assert first["changed"] is True
        assert run_module(name, check=True, **arguments)["changed"] is False
        assert run_module(name, **arguments)["changed"] is False
        return first

    return run


def tree(root: Path) -> dict[str, Any]:
    """Return what is below ``root``, for a comparison before and after."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
