"""The environment of a run: the part of the caller's environment that Ansible gets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import paths
from . import prerequisites

#: Variables of the caller that must not affect a run: settings of Ansible and our own.
_SCRUBBED_PREFIXES = ("ANSIBLE_", "DREAM_", "PYTHON", "VIRTUAL_ENV")


def ansible_environment(work: Path, caller: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment without variables that would change the run."""
    kept = {
        name: value
        for name, value in caller.items()
        if not name.startswith(_SCRUBBED_PREFIXES) and not prerequisites.is_locale(name)
    }
    content, package = paths.content(), paths.PACKAGE
    return {
        **prerequisites.user_environment(),
        **kept,
        **prerequisites.locale_environment(),
        "PYTHONPATH": str(package.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_CONFIG": str(content / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(work / "ansible" / "tmp"),
        "ANSIBLE_ROLES_PATH": str(content / "roles"),
        "ANSIBLE_LIBRARY": str(content / "library"),
        "ANSIBLE_MODULE_UTILS": str(package / "module_utils"),
        "ANSIBLE_ACTION_PLUGINS": str(package / "plugins" / "action"),
        "ANSIBLE_LOOKUP_PLUGINS": str(package / "plugins" / "lookup"),
        "ANSIBLE_FILTER_PLUGINS": str(package / "plugins" / "filter"),
        "ANSIBLE_CALLBACK_PLUGINS": str(package / "plugins" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "dream_events",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        # Modules are passed to the interpreter through a pipe, so no copies are left on disk.
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "1",
    }


@contextlib.contextmanager
def bare_environment() -> Iterator[None]:
    """Hide the caller's environment from ansible-runner, which would write it to a file."""
    saved = dict(os.environ)
    keep: dict[str, str] = {n: saved[n] for n in ("PATH", "HOME") if n in saved}
    keep |= prerequisites.locale_environment()
    keep["PYTHONPATH"] = str(paths.PACKAGE.parent)
    os.environ.clear()
    os.environ.update(keep)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
