"""What an Ansible run is asked to do, and how it ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..module_utils.dream_core.errors import DreamError


@dataclass(frozen=True)
class Reach:
    """How a run reaches other machines.

    ``socket`` is where the modules find the life line on the host, as a template. ``templates`` are
    variables that Ansible evaluates for each host: constants of this program, never data.
    """

    inventories: tuple[str, ...]
    limit: str
    socket: str
    templates: Mapping[str, str] = field(default_factory=dict)
    forks: int = 1
    vault_password_files: tuple[str, ...] = ()
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Request:
    """One Ansible run, on this machine or, by ``reach``, on others.

    ``variables`` are data: no string of them is evaluated as a template. They go to
    ansible-playbook in a file of mode 0600 inside ``run_dir`` and hold no secret. ``environment``
    is laid over the caller's. ``run_dir`` is made here and keeps ``log.txt``; everything else in it
    is gone when the run ends.
    """

    playbook: str
    variables: dict[str, Any]
    run_id: str
    run_dir: Path
    reach: Reach | None = None
    become_password: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    check: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """How the run ended; the counts are Ansible's, summed over hosts."""

    rc: int
    interrupted: bool
    error: DreamError | None
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0


def new_run_id() -> str:
    """Return an id that sorts by time and that no other run has."""
    now = time.time_ns()
    second = time.strftime("%Y%m%dT%H%M%S", time.localtime(now // 10**9))
    return f"{second}-{now // 1000 % 10**6:05x}{secrets.token_hex(2)}"
