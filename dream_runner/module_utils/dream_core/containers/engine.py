"""Talk to a container engine through its command line."""

from __future__ import annotations

import json
import os
import re
from typing import Dict, List, Sequence

from ..errors import EngineError
from ..layout import SYSTEM_PATH
from ..system import tools
from ..types.service import EngineJson

#: A question that the engine answers from memory.
_ASK_SECONDS = 60


def environment() -> Dict[str, str]:
    """Return all that the engine's programs may know: a caller's words steer nothing (S5)."""
    kept = ("HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")
    found = {name: os.environ[name] for name in kept if os.environ.get(name)}
    return dict(found, PATH=SYSTEM_PATH, LANG="C.UTF-8")


def ask(command: str, *arguments: str, timeout: float = _ASK_SECONDS) -> str:
    """Return what the engine's program prints. Raises EngineError ENGINE_REFUSED with its words."""
    done = _run(command, arguments, timeout)
    if done.status != 0:
        said = done.errors.strip() or "status %d" % done.status
        raise EngineError(
            "%s %s: %s" % (command, arguments[0], said),
            code="ENGINE_REFUSED",
            hint="'docker info' says whether the engine is well",
        )
    return done.output


#: Put before a command to ask as root; never asks for a password.
_SUDO = "sudo -n "
_DENIED = re.compile(
    r"permission denied|password is required|not in the sudoers|not allowed to|may not run sudo",
    re.IGNORECASE,
)


def is_denied(error: EngineError) -> bool:
    """Return whether the engine refused this user, as it does before the login after an install."""
    return bool(_DENIED.search(str(error)))


def as_root(command: str) -> str:
    """Return the command that asks as root, or nothing where there is no such way (left)."""
    if command.startswith(_SUDO) or os.geteuid() == 0 or not tools.path_of("sudo"):
        return ""
    return _SUDO + command


def _argv(command: str) -> List[str]:
    bare = command[len(_SUDO) :] if command.startswith(_SUDO) else command
    return [*_SUDO.split(), bare] if bare != command else [command]


def _run(command: str, arguments: Sequence[str], timeout: float) -> tools.Ended:
    try:
        return tools.run([*_argv(command), *arguments], timeout, environment=environment())
    except tools.NOT_RUN as error:
        raise EngineError(
            "the container engine does not answer: %s" % error,
            code="ENGINE_REFUSED",
            hint="'docker info' says whether the engine is well",
        ) from error


def info(command: str) -> EngineJson:
    """Return what the engine says of itself, once for everything that depends on it."""
    found: EngineJson = json.loads(ask(command, "info", "--format", "{{json .}}"))
    return found


def inspect(command: str, kind: str, names: Sequence[str]) -> List[EngineJson]:
    """Return what the engine knows of those of ``names`` that it has."""
    if not names:
        return []
    done = _run(command, (kind, "inspect", *names), _ASK_SECONDS)
    # With a missing one it exits 1 and shows the others; without an engine it exits 1 as well.
    said = done.errors
    if done.status != 0 and not re.search(r"no such|not found", said, re.IGNORECASE):
        raise EngineError(
            "the container engine does not answer: %s" % said.strip(),
            code="ENGINE_REFUSED",
            hint="'docker info' says whether the engine is well",
        )
    found: List[EngineJson] = json.loads(done.output or "[]")
    return found


def lines(command: str, *arguments: str) -> List[str]:
    """Return the lines that a listing prints."""
    return [line for line in ask(command, *arguments).splitlines() if line]
