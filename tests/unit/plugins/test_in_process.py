"""Tasks of ours that run in Ansible's own process on localhost, and as a module elsewhere."""

import ast
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from dream_runner import paths

NAMES = ("dream_files", "dream_env", "dream_probe")


def action(
    name: str, given: dict[str, Any], *, transport: str = "local", become: bool = False,
    check: bool = False,
) -> Any:  # fmt: skip
    task = SimpleNamespace(
        args=given, check_mode=check, async_val=0, diff=False, action=name, resolved_action=name,
        environment=None, timeout=0, no_log=False,
    )  # fmt: skip
    connection = SimpleNamespace(transport=transport, _shell=SimpleNamespace(tmpdir=None))
    module = import_module(f"dream_runner.plugins.action.{name}")
    # A subclass, because only Ansible can run a module.
    by_module = {"_execute_module": lambda self, **more: {"by": "the module"}}
    return type("ActionModule", (module.ActionModule,), by_module)(
        task=task,
        connection=connection,
        play_context=SimpleNamespace(become=become, check_mode=check, diff=False),
        loader=None,
        templar=None,
        shared_loader_obj=None,
    )


def layout(path: Path) -> dict[str, Any]:
    return {
        "directories": [{"path": str(path / "a"), "mode": "0755"}],
        "files": [{"path": str(path / "a" / "x"), "mode": "0600", "content": "x"}],
    }


def test_on_localhost_it_is_done_here(tmp_path: Path) -> None:
    would = action("dream_files", layout(tmp_path), check=True).run()
    assert would["changed"] is True
    assert list(tmp_path.iterdir()) == []
    done = action("dream_files", layout(tmp_path)).run()
    assert done["changes"] == would["changes"]
    assert (tmp_path / "a" / "x").read_text() == "x"
    assert action("dream_files", layout(tmp_path)).run()["changed"] is False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", [{"transport": "ssh"}, {"become": True}])
def test_elsewhere_and_for_another_user_the_module_runs(
    name: str, how: dict[str, Any], tmp_path: Path
) -> None:
    given = layout(tmp_path) if name == "dream_files" else {}
    assert action(name, given, **how).run()["by"] == "the module"
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked_here_too(tmp_path: Path) -> None:
    wrong = layout(tmp_path)
    wrong["files"][0].pop("mode")
    with pytest.raises(AnsibleActionFail, match="mode"):
        action("dream_files", wrong).run()
    with pytest.raises(AnsibleActionFail, match="directoris"):
        action("dream_files", {"directoris": []}).run()


def test_a_failure_has_its_code(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    done = action("dream_files", layout(tmp_path)).run()
    assert done["failed"] is True
    assert done["dream_error"]["code"] == "IN_THE_WAY"


def test_a_secret_is_made_and_not_told(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    done = action("dream_env", {"path": str(path), "secrets": {"KEY": "hex:16"}}).run()
    assert done["generated"] == ["KEY"]
    secret = path.read_text().partition("KEY=")[2].strip()
    assert len(secret) == 32
    assert secret not in str(done)


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("could not load the model\n")
    given = {"url": "http://127.0.0.1:1", "model": "m", "deadline_seconds": 0, "log": str(log)}
    done = action("dream_probe", given).run()
    assert done["dream_error"]["code"] == "ENGINE_NOT_READY"
    assert "could not load the model" in done["dream_error"]["hint"]
    assert action("dream_probe", given, check=True).run()["changed"] is False


@pytest.mark.parametrize("name", NAMES)
def test_the_module_documents_its_options(name: str) -> None:
    tree = ast.parse((paths.content() / "library" / f"{name}.py").read_text())
    (text,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "DOCUMENTATION" and isinstance(node.value, ast.Constant)
    )  # fmt: skip
    told = yaml.safe_load(text)["options"]
    spec = import_module(f"dream_runner.plugins.action.{name}").SPEC
    assert set(told) == set(spec)
    for option, wanted in spec.items():
        form = wanted["type"]
        assert told[option].get("type") == getattr(form, "__name__", form), option
        assert told[option].get("default") == wanted.get("default"), option
        assert told[option].get("required", False) == wanted.get("required", False), option
