"""The request for an Ansible run, and its result."""

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
    """How a run connects to other machines.

    ``socket`` is the path of the life line on the host, as a template. ``templates`` are variables
    that Ansible evaluates for each host: constants of this program, never data.
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
    """One Ansible run, on this machine or, with ``reach``, on others.

    ``variables`` are data: none of their strings is evaluated as a template. They are passed in a
    file of mode 0600 inside ``run_dir`` and contain no secrets. ``environment`` overrides the
    caller's. ``run_dir`` is created by the run and keeps ``log.txt``; everything else in it is
    removed at the end.
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
    """How the run ended; the counts are Ansible's, summed over all hosts."""

    rc: int
    interrupted: bool
    error: DreamError | None
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0


def new_run_id() -> str:
    """Return a unique id that sorts by time."""
    now = time.time_ns()
    second = time.strftime("%Y%m%dT%H%M%S", time.localtime(now // 10**9))
    return f"{second}-{now // 1000 % 10**6:05x}{secrets.token_hex(2)}"
