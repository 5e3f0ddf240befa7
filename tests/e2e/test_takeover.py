"""Take over what an earlier version installed: its directory, secrets and model stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nodes.node import Node

from . import former, stack
from .machine import chat, error_code
from .whole import check_as_before, files, packages

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(1800)]

MakeNode = Callable[..., Node]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return former.tree(tmp_path_factory.mktemp("former"))


def succeeded(result: Any) -> Any:
    assert result.code == 0, str(result)
    return result.json()


@pytest.mark.parametrize(
    ("release", "systemd", "user"),
    [
        pytest.param("12", False, "root", id="debian12-no-systemd-root"),
        pytest.param("13", True, "root", id="debian13-systemd-root"),
        pytest.param("12", False, "sudoer", id="debian12-no-systemd-sudo"),
    ],
)
def test_native(node: MakeNode, tree: Path, release: str, systemd: bool, user: str) -> None:
    machine = node(release, systemd=systemd, user=user)
    machine.copy_checkout()
    before, packages_before = files(machine), packages(machine)
    machine.must("rm", "-rf", machine.checkout)
    machine.copy_tree(tree, machine.checkout)
    done = machine.install("--profile", "embedded", "--model", "smoke", "--yes")
    assert done.code == 0, str(done)
    root = f"{machine.home}/dream-runner"
    secrets = former.secrets(machine, root)
    model = machine.must("sh", "-c", f"ls {root}/data/models/*.gguf").out.strip()
    fetched = former.identity(machine, model)

    former.replace_checkout(machine)
    done = succeeded(machine.install("--yes", "--json"))
    assert done["summary"]["install_dir"] == root
    assert former.secrets(machine, root).items() >= secrets.items()
    assert former.identity(machine, model) == fetched
    assert chat(machine)
    assert succeeded(machine.runner("status", "--json"))["state"] == "ready"
    assert succeeded(machine.install("--yes", "--json"))["tasks"]["changed"] == 0

    done = machine.runner("uninstall", "--purge", "--yes")
    assert done.code == 0, str(done)
    assert machine.install("--remove-runner").code == 0
    check_as_before(machine, before, packages_before)


def test_full(node: MakeNode, tree: Path, tmp_path: Path) -> None:
    machine = node("13", kind="docker", engine=True)
    models = stack.models(tmp_path)
    lock = former.prepare(machine, tree, models)
    stacked = stack.Stacked(machine, {name: stack.sha256(path) for name, path in models.items()})
    address = f"http://127.0.0.1:{stack.FILES_PORT}/one.gguf"
    words = ("--profile", "full", "--model", address, "--sha256", stacked.models["one"])
    done = machine.install("--yes", *words, timeout=1200)
    assert done.code == 0, str(done)
    root = f"{machine.home}/dream-runner"
    secrets = former.secrets(machine, root)
    model = machine.must("sh", "-c", f"ls {root}/data/models/*.gguf").out.strip()
    fetched = former.identity(machine, model)
    old = stacked.identities()

    former.replace_checkout(machine)
    stack.replace_helper_models(machine)
    stack.write_lock(machine, lock)
    # Open WebUI and n8n would permanently change their data, so the user must accept that first.
    refused = machine.install("--yes", "--json")
    assert refused.code == 3, str(refused)
    assert error_code(refused) == "MIGRATION_NEEDED"
    assert stacked.identities() == old
    done = succeeded(machine.install("--yes", "--json", "--accept", "migration", timeout=1200))
    assert done["summary"]["install_dir"] == root
    assert former.secrets(machine, root).items() >= secrets.items()
    assert former.identity(machine, model) == fetched
    assert succeeded(machine.runner("status", "--json"))["state"] == "ready"
    assert succeeded(machine.install("--yes", "--json"))["tasks"]["changed"] == 0

    done = machine.runner("uninstall", "--purge", "--yes")
    assert done.code == 0, str(done)
    assert stacked.containers() == {}
    assert machine.run("test", "-e", root).code != 0
