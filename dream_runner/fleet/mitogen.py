"""Mitogen, for whoever has it and asks for it: a Python that stays on the host, not one a task.

It is no dependency, because third-party strategies are deprecated in ansible-core with no
replacement. docs/developer/fleet.md says where it pays.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import shutil
import sys
from pathlib import Path

from .. import paths
from ..module_utils.dream_core.errors import UsageError
from .ssh_sockets import KEEPALIVE_COUNT, KEEPALIVE_SECONDS

#: Extra variables, above everything an inventory says.
VARIABLES = {
    # Modules in a child of that Python: they end themselves when their life line closes.
    "mitogen_task_isolation": "fork",
    # It puts its own checking of host keys before our arguments, and takes it from these.
    "ansible_host_key_checking": True,
    "ansible_ssh_host_key_checking": True,
    # So it does with its patience: a host that is cut off would be missed after five minutes.
    "mitogen_ssh_keepalive_interval": KEEPALIVE_SECONDS,
    "mitogen_ssh_keepalive_count": KEEPALIVE_COUNT,
}

_STRATEGY = "mitogen_linear"


def plugins() -> str:
    """Return where its strategies are. Raises UsageError MITOGEN_MISSING."""
    found = importlib.util.find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "--mitogen needs Mitogen, which is not installed",
            code="MITOGEN_MISSING",
            hint=f"'{sys.executable} -m pip install mitogen', or leave --mitogen out",
        )
    return str(Path(next(iter(found.submodule_search_locations)), "plugins", "strategy"))


def environment(plugins: str, directory: Path) -> dict[str, str]:
    """Return what makes Ansible use it; ``directory`` is private and lives as long as the run."""
    return {
        "ANSIBLE_STRATEGY": _STRATEGY,
        "ANSIBLE_STRATEGY_PLUGINS": plugins,
        "ANSIBLE_MODULE_UTILS": str(_spelled_out(directory / "module_utils")),
        # Its socket here; a killed run leaves it where the next one sweeps.
        "TMPDIR": str(directory),
    }


def _spelled_out(directory: Path) -> Path:
    """Return a copy of ``module_utils`` whose packages name their modules absolutely.

    Mitogen sends a host what a module imports, and sees absolute imports only.
    """
    origin = paths.PACKAGE / "module_utils"
    shutil.copytree(origin, directory, ignore=shutil.ignore_patterns("__pycache__"))
    for init in sorted(directory.rglob("*/__init__.py")):
        package = "ansible.module_utils." + ".".join(init.parent.relative_to(directory).parts)
        names = sorted(item.name for item in pkgutil.iter_modules([str(init.parent)]))
        imports = "".join(f"    from {package} import {name}\n" for name in names)
        text = init.read_text(encoding="utf-8")
        init.write_text(f"{text}\nTYPE_CHECKING = False\nif TYPE_CHECKING:\n{imports}", "utf-8")
    return directory
