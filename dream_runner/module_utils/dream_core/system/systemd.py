"""Units of systemd: query their state and restart them."""

from __future__ import annotations

import os
from typing import Dict, List, Sequence

from ..errors import EngineError
from ..layout import SYSTEM_PATH
from . import tools

_TELL_SECONDS = 120
_ASK_SECONDS = 10


def run(scope: str, *words: str, seconds: float = _TELL_SECONDS) -> tools.Ended:
    """Run systemctl for ``scope`` (system, user); return its result. Raises ``tools.NOT_RUN``."""
    return _run(_argv(scope, words), seconds)


def systemctl(scope: str, *words: str) -> None:
    """Run systemctl for ``scope`` (system, user). Raises EngineError ENGINE_NOT_STARTED."""
    argv = _argv(scope, words)
    try:
        done = _run(argv, _TELL_SECONDS)
        message = done.errors.strip() if done.status else ""
        failed = done.status != 0
    except tools.NOT_RUN as error:
        message, failed = str(error), True
    if failed:
        raise EngineError(
            "systemctl %s: %s" % (" ".join(argv[1:]), message),
            code="ENGINE_NOT_STARTED",
            where=words[-1],
            hint="see 'journalctl --unit %s'" % words[-1],
        )


def restart(name: str, scope: str) -> None:
    """Restart a unit with its current file, even after too many failures."""
    systemctl(scope, "daemon-reload")
    systemctl(scope, "reset-failed", name)
    systemctl(scope, "restart", name)


def show(name: str, scope: str, properties: Sequence[str]) -> Dict[str, str]:
    """Return these properties of a unit; empty on a host without systemd."""
    argv = [*_argv(scope, ("show", name)), "--property=" + ",".join(properties)]
    try:
        done = _run(argv, _ASK_SECONDS)
    except tools.NOT_RUN:
        return {}
    lines = done.output.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _argv(scope: str, words: Sequence[str]) -> List[str]:
    program = tools.path_of("systemctl") or "systemctl"
    return [program, "--" + scope, *words]


def _run(argv: Sequence[str], seconds: float) -> tools.Ended:
    # Without a login session, the variable with the directory of the user's manager is not set.
    place = {"XDG_RUNTIME_DIR": "/run/user/%d" % os.getuid()}
    return tools.run(argv, seconds, environment={"PATH": SYSTEM_PATH, **place})


#: The properties of a working unit, in systemctl's terms.
UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState")


def shown_units(scope: str, names: Sequence[str]) -> Dict[str, Dict[str, str]]:
    """Return the properties of the named units, which systemctl separates with an empty line."""
    if not names:
        return {}
    argv = ["systemctl", *(["--user"] if scope == "user" else []), "show", *names]
    argv.append("--property=Id,Names," + ",".join(UNIT_PROPERTIES))
    units = {}
    for block in tools.output(argv).split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units.update({name: shown for name in shown.get("Names", "").split()})
    return units
