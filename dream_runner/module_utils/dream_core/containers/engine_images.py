"""The images of a container engine: list, load and pull them.

A pull goes through the engine's socket, because only there does the engine report bytes. Without
them a slow connection looks like a dead one.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import time
from typing import Any, Callable, Dict, FrozenSet, Iterator, Mapping, Sequence, Tuple
from urllib.parse import quote

from ..errors import DiskError, DreamError, EngineError, IntegrityError, NetworkError
from ..network.unix_http import UnixConnection
from . import engine, engine_child

#: After so many seconds without a byte or a message, the connection is dead (D6, K2).
STALL_SECONDS = 180

Progress = Callable[[int, int, str], None]


def images(command: str, references: Sequence[str]) -> FrozenSet[str]:
    """Return those of these images, by digest or id, that the engine has."""
    found = engine.inspect(command, "image", references)
    names = {item["Id"] for item in found}
    names.update(digest for item in found for digest in item.get("RepoDigests") or ())
    return frozenset(names.intersection(references))


def load(command: str, archive: str) -> None:
    """Load an image archive, whole or in parts. Raises EngineError IMAGE_ARCHIVE or DiskError."""
    # Imported here, because a survey has to be fast and never loads an image.
    from ..system.filesystems import parts_of

    parts = parts_of(archive)
    if not os.path.isfile(parts[0]):
        raise EngineError(
            "the image archive %s is missing" % archive,
            code="IMAGE_ARCHIVE",
            hint="use --bundle DIR with the bundle that the lock was made from",
        )
    if parts == [archive]:
        done = engine_child.child([command, "load", "--input", archive])
    else:
        done = engine_child.child([command, "load"], feed=parts)
    if done.status != 0:
        raise classify(done.output, archive)


#: Permanent failures (K1): class, code and hint by the engine's message.
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
        "the registry sent other content than requested; try another network",
    ),
    (
        r"manifest unknown|not found|no such image|404",
        EngineError,
        "IMAGE_NOT_FOUND",
        "the registry no longer has it; create a new lock with: dream-runner lock",
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
        "run 'docker info' to check the engine",
    ),
)


def classify(said: str, what: str) -> DreamError:
    """Return the error for the engine's message; an unknown failure counts as a network error."""
    brief = " ".join(said.split())[-600:]
    for pattern, cls, code, hint in _PERMANENT:
        if re.search(pattern, said, re.IGNORECASE):
            error: DreamError = cls("%s: %s" % (what, brief), code=code, where=what, hint=hint)
            return error
    return NetworkError(
        "%s: %s" % (what, brief or "no answer"),
        code="IMAGE_PULL",
        where=what,
        hint="check the connection, then run again; finished layers are kept",
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
    """Make the engine pull ``NAME@sha256:DIGEST``; the engine verifies the digest.

    Tries ``attempts`` times with growing pauses, but only once for a permanent failure. Raises the
    classified error of the last attempt.
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
        # Only the command line uses the user's logins. It is tried second, because a stale
        # credential helper breaks every pull through it (K7).
        _pull_by_command(command, reference, platform)


def _pull_by_command(command: str, reference: str, platform: str) -> None:
    done = engine_child.child([command, "pull", "--platform", platform, reference])
    if done.status != 0:
        raise classify(done.output, reference)


def socket_path(command: str) -> str:
    """Return the engine's socket; empty if the engine is not reached through a socket."""
    host = os.environ.get("DOCKER_HOST") or engine.ask(
        command, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"
    )
    host = host.strip()
    return host[len("unix://") :] if host.startswith("unix://") else ""


def _pull_through(path: str, reference: str, platform: str, on_progress: Progress) -> None:
    connection = UnixConnection(path, STALL_SECONDS)
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
