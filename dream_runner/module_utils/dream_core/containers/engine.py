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

#: Seconds for requests that the engine answers from memory.
_ASK_SECONDS = 60


def environment() -> Dict[str, str]:
    """Return the environment of the engine's programs, without the caller's variables (S5)."""
    kept = ("HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")
    found = {name: os.environ[name] for name in kept if os.environ.get(name)}
    return dict(found, PATH=SYSTEM_PATH, LANG="C.UTF-8")


def ask(command: str, *arguments: str, timeout: float = _ASK_SECONDS) -> str:
    """Return the output of the engine's program. Raises EngineError ENGINE_REFUSED."""
    done = _run(command, arguments, timeout)
    if done.status != 0:
        said = done.errors.strip() or "status %d" % done.status
        raise EngineError(
            "%s %s: %s" % (command, arguments[0], said),
            code="ENGINE_REFUSED",
            hint="run 'docker info' to check the engine",
        )
    return done.output


#: The prefix to run a command as root; it never asks for a password.
_SUDO = "sudo -n "
_DENIED = re.compile(
    r"permission denied|password is required|not in the sudoers|not allowed to|may not run sudo",
    re.IGNORECASE,
)


def is_denied(error: EngineError) -> bool:
    """Return whether the engine refused this user, as it does until the next login."""
    return bool(_DENIED.search(str(error)))


def as_root(command: str) -> str:
    """Return the command that runs as root, or "" if that is not possible or already so."""
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
            hint="run 'docker info' to check the engine",
        ) from error


def info(command: str) -> EngineJson:
    """Return the engine's description of itself (``docker info``)."""
    found: EngineJson = json.loads(ask(command, "info", "--format", "{{json .}}"))
    return found


def inspect(command: str, kind: str, names: Sequence[str]) -> List[EngineJson]:
    """Return the engine's description of each of ``names`` that it has."""
    if not names:
        return []
    done = _run(command, (kind, "inspect", *names), _ASK_SECONDS)
    # If one is missing it exits 1 and shows the others; without an engine it also exits 1.
    said = done.errors
    if done.status != 0 and not re.search(r"no such|not found", said, re.IGNORECASE):
        raise EngineError(
            "the container engine does not answer: %s" % said.strip(),
            code="ENGINE_REFUSED",
            hint="run 'docker info' to check the engine",
        )
    found: List[EngineJson] = json.loads(done.output or "[]")
    return found


def lines(command: str, *arguments: str) -> List[str]:
    """Return the lines of a listing."""
    return [line for line in ask(command, *arguments).splitlines() if line]
