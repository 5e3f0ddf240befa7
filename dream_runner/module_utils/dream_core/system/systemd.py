"""Systemd's units: ask for their state, restart them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, Dict, List, Sequence

from ..errors import EngineError
from ..layout import SYSTEM_PATH
from . import process

_TELL_SECONDS = 120
_ASK_SECONDS = 10


def systemctl(scope: str, *words: str) -> None:
    """Run systemctl for ``scope`` (system, user). Raises EngineError ENGINE_NOT_STARTED."""
    argv = _argv(scope, words)
    try:
        done = _run(argv, _TELL_SECONDS)
        message = done.stderr.decode("utf-8", "replace").strip() if done.returncode else ""
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        message, failed = str(error), True
    if failed:
        raise EngineError(
            "systemctl %s: %s" % (" ".join(argv[1:]), message),
            code="ENGINE_NOT_STARTED",
            where=words[-1],
            hint="'journalctl --unit %s' says why" % words[-1],
        )


def restart(name: str, scope: str) -> None:
    """Restart a unit with its current file, even if it failed too often before."""
    systemctl(scope, "daemon-reload")
    systemctl(scope, "reset-failed", name)
    systemctl(scope, "restart", name)


def show(name: str, scope: str, properties: Sequence[str]) -> Dict[str, str]:
    """Return these properties of a unit; nothing on a host without systemd."""
    argv = [*_argv(scope, ("show", name)), "--property=" + ",".join(properties)]
    try:
        done = _run(argv, _ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _argv(scope: str, words: Sequence[str]) -> List[str]:
    program = shutil.which("systemctl", path=SYSTEM_PATH) or "systemctl"
    return [program, "--" + scope, *words]


def _run(argv: Sequence[str], seconds: float) -> Any:
    # A connection without a login session does not name the directory of the user's manager.
    place = {"XDG_RUNTIME_DIR": "/run/user/%d" % os.getuid()}
    return subprocess.run(
        argv,
        env={"PATH": SYSTEM_PATH, **place},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=False,
    )


#: What a unit must show to count as working, in systemctl's own words.
UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState")


def shown_units(scope: str, names: Sequence[str]) -> Dict[str, Dict[str, str]]:
    """Return the properties of the named units; systemctl parts them by an empty line."""
    if not names:
        return {}
    argv = ["systemctl", *(["--user"] if scope == "user" else []), "show", *names]
    argv.append("--property=Id,Names," + ",".join(UNIT_PROPERTIES))
    units = {}
    for block in process.output(argv).split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units.update({name: shown for name in shown.get("Names", "").split()})
    return units
