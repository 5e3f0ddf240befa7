"""The tree as a collection: built, installed without a network, and used without the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dream_runner import __version__, paths
from dream_runner.module_utils.dream_core.phases import PHASES

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  roles: [dream_runner.core.directories]
  tasks:
    - dream_runner.core.dream_facts:
        state_dir: "{{ dream_state_dir }}"
        version: "{{ dream_run.version }}"
        install_dir: "{{ dream_install_dir }}"
    - dream_runner.core.dream_files:
        files:
          - path: "{{ dream_install_dir }}/schema"
            mode: "0644"
            content: "{{ ansible_facts.dream_host.schema }}"
"""


class Collection:
    """An empty path with nothing but this collection, and a home directory beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.root = folder / "path" / "ansible_collections" / "dream_runner" / "core"
        self.home.mkdir()
        (folder / "checkout").mkdir()
        # An import that was not rewritten would find the package of the checkout.
        (folder / "checkout" / "dream_runner.py").write_text("raise ImportError('the checkout')\n")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XDG_", "DREAM_", "PYTHON", "ANSIBLE_"))
        }
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "PYTHONPATH": str(folder / "checkout"),
            "PYTHON": sys.executable,
            "ANSIBLE_COLLECTIONS_PATH": str(folder / "path"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command, env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in re.sub(
            r"\[WARNING\]: (No inventory|provided hosts).*", "", done.stderr
        )
        return done.stdout


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    made = Collection(tmp_path_factory.mktemp("collection"))
    made.run(ROOT / "scripts" / "build_collection.sh", made.folder)
    archive = made.folder / f"dream_runner-core-{__version__}.tar.gz"
    made.run(
        BIN / "ansible-galaxy", "collection", "install", archive,
        "--collections-path", made.folder / "path", "--offline",
    )  # fmt: skip
    return made


def test_a_playbook_uses_a_role_and_two_modules_from_it(collection: Collection) -> None:
    playbook = collection.home / "play.yml"
    playbook.write_text(PLAYBOOK)
    install_dir = collection.home / "ai"
    command = (
        BIN / "ansible-playbook",
        playbook,
        "--extra-vars",
        f"dream_install_dir={install_dir}",
    )
    assert re.search(r"changed=[1-9]\d* ", collection.run(*command))
    assert (install_dir / "schema").read_text() == "dream-runner.facts/1"
    assert (install_dir / ".env").stat().st_mode & 0o777 == 0o600
    assert " changed=0 " in collection.run(*command)


def test_its_playbook_runs_every_role_by_its_full_name(collection: Collection) -> None:
    command = (BIN / "ansible-playbook", "dream_runner.core.install", "--list-tasks")
    listed = collection.run(*command)
    for phase in PHASES:
        assert f"dream_runner.core.{phase} : Record that the phase is running" in listed


def test_no_short_name_of_ours_is_left(collection: Collection) -> None:
    modules = {path.stem for path in (paths.content() / "library").glob("*.py")}
    for path in (collection.root / "roles").glob("*/tasks/*.yml"):
        text = path.read_text()
        assert not re.search(r"\| dream_(?!runner\.)|lookup\('dream_(?!runner\.)", text), path
        names = re.findall(r"^ *(?:- )?(dream_\w+):", text, re.MULTILINE)
        assert not modules & set(names), path
    for path in (collection.root / "plugins").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) dream_runner\b", text, re.MULTILINE), path
        assert "ansible.module_utils.dream_core" not in text, path


def test_every_module_has_its_page_there(collection: Collection) -> None:
    names = [f"dream_runner.core.{p.stem}" for p in (paths.content() / "library").glob("*.py")]
    pages = yaml.safe_load(collection.run(BIN / "ansible-doc", "--json", *names))
    assert set(pages) == set(names)


def test_the_tree_keeps_its_own_layout(collection: Collection) -> None:
    assert (collection.root / "plugins" / "modules" / "dream_facts.py").is_file()
    assert not (ROOT / "galaxy.yml").exists()
    assert not (ROOT / "plugins").exists()
