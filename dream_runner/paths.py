"""Find the playbooks, roles and catalogue, in a checkout or in an installed package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def content() -> Path:
    """Return the directory that contains ``playbooks/``, ``roles/`` and ``library/``.

    In a wheel, they are inside the package; in a checkout, next to it.
    """
    bundled = PACKAGE / "content"
    return bundled if bundled.is_dir() else PACKAGE.parent


def playbook(verb: str) -> Path:
    """Return the playbook of ``verb`` (``install``, ``uninstall``)."""
    return content() / "playbooks" / f"{verb}.yml"


def catalog() -> Path:
    """Return the directory of the product catalogue."""
    return PACKAGE / "catalog"


def default_state_dir(environment: Mapping[str, str]) -> str:
    """Return the state directory of the user who runs this (XDG base directories)."""
    base = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "dream-runner")
