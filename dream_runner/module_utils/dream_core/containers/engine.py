"""Talk to a container engine: its command line for all, its socket for pulls.

A pull goes through the socket because only there does it say how many bytes it
has: without that nobody could tell a slow line from a dead one.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess
import time
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Sequence, Tuple
from urllib.parse import quote

from ..errors import DiskError, DreamError, EngineError, IntegrityError, NetworkError
from ..layout import SYSTEM_PATH
from ..system.process import Finished, run_child

#: A question that the engine answers from memory.
_ASK_SECONDS = 60
#: No byte and no word for so long: the connection is dead (D6, K2).
STALL_SECONDS = 180

Progress = Callable[[int, int, str], None]


def environment() -> Dict[str, str]:
    """Return all that the engine's programs may know: a caller's words steer nothing (S5)."""
    kept = ("HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")
    found = {name: os.environ[name] for name in kept if os.environ.get(name)}
    return dict(found, PATH=SYSTEM_PATH, LANG="C.UTF-8")


def ask(command: str, *arguments: str, timeout: float = _ASK_SECONDS) -> str:
    """Return what the engine's program prints. Raises EngineError ENGINE_REFUSED with its words."""
    done = _run(command, arguments, timeout)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip() or "status %d" % done.returncode
        raise EngineError(
            "%s %s: %s" % (command, arguments[0], said),
            code="ENGINE_REFUSED",
            hint="'docker info' says whether the engine is well",
        )
    return str(done.stdout.decode("utf-8", "replace"))


#: Put before a command to ask as root; never asks for a password.
_SUDO = "sudo -n "
_DENIED = re.compile(
    r"permission denied|password is required|not in the sudoers|not allowed to|may not run sudo",
    re.IGNORECASE,
)


def is_denied(error: EngineError) -> bool:
    """Tell whether the engine refused this user, as it does before the login after an install."""
    return bool(_DENIED.search(str(error)))


def as_root(command: str) -> str:
    """Return the command that asks as root, or nothing where there is no such way (left)."""
    if command.startswith(_SUDO) or os.geteuid() == 0 or not shutil.which("sudo", path=SYSTEM_PATH):
        return ""
    return _SUDO + command


def _argv(command: str) -> List[str]:
    bare = command[len(_SUDO) :] if command.startswith(_SUDO) else command
    return [*_SUDO.split(), bare] if bare != command else [command]


def _run(command: str, arguments: Sequence[str], timeout: float) -> Any:
    try:
        return subprocess.run(
            [*_argv(command), *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(
            "the container engine does not answer: %s" % error,
            code="ENGINE_REFUSED",
            hint="'docker info' says whether the engine is well",
        ) from error


def info(command: str) -> Dict[str, Any]:
    """Return what the engine says of itself, once for everything that depends on it."""
    found: Dict[str, Any] = json.loads(ask(command, "info", "--format", "{{json .}}"))
    return found


def inspect(command: str, kind: str, names: Sequence[str]) -> List[Dict[str, Any]]:
    """Return what the engine knows of those of ``names`` that it has."""
    if not names:
        return []
    done = _run(command, (kind, "inspect", *names), _ASK_SECONDS)
    # With a missing one it exits 1 and shows the others; without an engine it exits 1 as well.
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0 and not re.search(r"no such|not found", said, re.IGNORECASE):
        raise EngineError(
            "the container engine does not answer: %s" % said.strip(),
            code="ENGINE_REFUSED",
            hint="'docker info' says whether the engine is well",
        )
    found: List[Dict[str, Any]] = json.loads(done.stdout.decode("utf-8", "replace") or "[]")
    return found


def lines(command: str, *arguments: str) -> List[str]:
    """Return the lines that a listing prints."""
    return [line for line in ask(command, *arguments).splitlines() if line]


# --- images --------------------------------------------------------------------------


def images(command: str, references: Sequence[str]) -> FrozenSet[str]:
    """Return which of these images, by digest or id, the engine has."""
    found = inspect(command, "image", references)
    names = {item["Id"] for item in found}
    names.update(digest for item in found for digest in item.get("RepoDigests") or ())
    return frozenset(names.intersection(references))


def load(command: str, archive: str) -> None:
    """Load an image archive, whole or in parts. Raises EngineError IMAGE_ARCHIVE or DiskError."""
    # Here, because a survey, which has to be quick, never loads.
    from ..system.filesystems import parts_of

    parts = parts_of(archive)
    if not os.path.isfile(parts[0]):
        raise EngineError(
            "the image archive %s is not there" % archive,
            code="IMAGE_ARCHIVE",
            hint="give the bundle that the lock was made from: --bundle DIR",
        )
    if parts == [archive]:
        done = child([command, "load", "--input", archive])
    else:
        done = child([command, "load"], feed=parts)
    if done.status != 0:
        raise classify(done.output, archive)


def child(
    argv: Sequence[str],
    directory: str = "/",
    kept_lines: int = 40,
    feed: Sequence[str] = (),
) -> Finished:
    """Run a long command of the engine, which ends with this process."""
    program = shutil.which(argv[0], path=SYSTEM_PATH) or argv[0]
    return run_child(
        [program, *argv[1:]],
        environment=environment(),
        directory=directory,
        kept_lines=kept_lines,
        feed=feed,
    )


#: What another attempt cannot change (K1): class, code, hint by the words of the engine.
_PERMANENT: Tuple[Tuple[str, Any, str, str], ...] = (
    (
        r"no space left on device|disk quota",
        DiskError,
        "DISK_FULL",
        "free some space where the engine keeps its data, then run again",
    ),
    (
        r"unauthorized|denied|authentication required",
        EngineError,
        "IMAGE_DENIED",
        "log in to that registry with 'docker login', then run again",
    ),
    (
        r"digest.*mismatch|verification failed|failed.*verif|unexpected.*digest",
        IntegrityError,
        "IMAGE_DIGEST",
        "the registry delivered something else than it promised; try again from another network",
    ),
    (
        r"manifest unknown|not found|no such image|404",
        EngineError,
        "IMAGE_NOT_FOUND",
        "the registry has it no longer; make a new lock with: dream-runner lock",
    ),
    (
        r"no matching manifest|does not match the specified platform",
        EngineError,
        "IMAGE_PLATFORM",
        "switch off the feature that needs it",
    ),
    (
        r"cannot connect to the docker daemon|connection refused.*docker\.sock",
        EngineError,
        "ENGINE_REFUSED",
        "'docker info' says whether the engine is well",
    ),
)


def classify(said: str, what: str) -> DreamError:
    """Return the error behind the engine's words; what is not known to be final is the network."""
    brief = " ".join(said.split())[-600:]
    for pattern, cls, code, hint in _PERMANENT:
        if re.search(pattern, said, re.IGNORECASE):
            error: DreamError = cls("%s: %s" % (what, brief), code=code, where=what, hint=hint)
            return error
    return NetworkError(
        "%s: %s" % (what, brief or "no answer"),
        code="IMAGE_PULL",
        where=what,
        hint="check the connection, then run again: finished layers are kept",
    )


def pull(
    command: str,
    reference: str,
    platform: str,
    *,
    attempts: int,
    on_progress: Progress,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Have the engine fetch ``NAME@sha256:DIGEST``; it verifies what it gets.

    Tried again after what may pass: with growing pauses, as many as ``attempts``.
    Raises the classified error of the last one.
    """
    for attempt in range(1, attempts + 1):
        try:
            return _pull_once(command, reference, platform, on_progress)
        except NetworkError as error:
            if attempt == attempts:
                raise
            seconds = min(60.0, 2.0**attempt) * random.uniform(0.5, 1.0)
            on_progress(0, 0, "attempt %d of %d failed (%s)" % (attempt, attempts, error.what[:80]))
            pause(seconds)
    raise AssertionError("unreachable")


def _pull_once(command: str, reference: str, platform: str, on_progress: Progress) -> None:
    path = socket_path(command)
    if not path:
        return _pull_by_command(command, reference, platform)
    try:
        _pull_through(path, reference, platform, on_progress)
    except EngineError as error:
        if error.code != "IMAGE_DENIED":
            raise
        # Only the command line knows the user's logins; it comes second, because a stale
        # credential helper breaks every pull through it (K7).
        _pull_by_command(command, reference, platform)


def _pull_by_command(command: str, reference: str, platform: str) -> None:
    done = child([command, "pull", "--platform", platform, reference])
    if done.status != 0:
        raise classify(done.output, reference)


def socket_path(command: str) -> str:
    """Return the engine's socket; empty where it is reached in another way."""
    host = os.environ.get("DOCKER_HOST") or ask(
        command, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"
    )
    host = host.strip()
    return host[len("unix://") :] if host.startswith("unix://") else ""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _pull_through(path: str, reference: str, platform: str, on_progress: Progress) -> None:
    connection = _Connection(path, STALL_SECONDS)
    query = "/images/create?fromImage=%s&platform=%s" % (quote(reference, ""), quote(platform, ""))
    try:
        connection.request("POST", query)
        with connection.getresponse() as response:
            if response.status != 200:
                raise classify(response.read().decode("utf-8", "replace"), reference)
            _follow(_messages(response), reference, on_progress)
    except (OSError, http.client.HTTPException) as error:
        raise classify(str(error) or type(error).__name__, reference) from error
    finally:
        connection.close()


def _messages(response: Any) -> Iterator[Dict[str, Any]]:
    for line in response:
        message = json.loads(line)
        if isinstance(message, dict):
            yield message


def _follow(messages: Iterator[Mapping[str, Any]], reference: str, on_progress: Progress) -> None:
    layers: Dict[str, Tuple[int, int]] = {}
    for message in messages:
        if "error" in message:
            raise classify(str(message["error"]), reference)
        detail = message.get("progressDetail") or {}
        name = str(message.get("id") or "")
        if message.get("status") == "Downloading" and detail.get("total"):
            layers[name] = (int(detail["current"]), int(detail["total"]))
        elif message.get("status") in ("Download complete", "Pull complete") and name in layers:
            layers[name] = (layers[name][1], layers[name][1])
        on_progress(
            sum(done for done, _ in layers.values()), sum(size for _, size in layers.values()), ""
        )
