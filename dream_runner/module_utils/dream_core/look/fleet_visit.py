"""Inspect a host for a fleet run, in one task."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket as sockets
import sys
from typing import Dict

from ..errors import BusyError, RequirementError
from ..health import serving
from ..layout import LINGER_DIRECTORY
from ..records.receipt import read_all
from ..system import file_lock, filesystems, kernel, lifeline
from ..system.account import gather_session
from ..types.look import EngineAnswer, Visit
from ..types.receipt import Receipts
from .host import held, look, place_of

OLDEST_PYTHON = (3, 9)

#: The controller's sockets on the host; stale ones of an earlier run are removed.
_SOCKETS = "/tmp/dream-runner-*.sock"
#: A large model that was swapped out takes long for the first token.
_ANSWER_SECONDS = 120.0
#: The system library that the native engine needs.
_ENGINE_LIBRARY = "libgomp.so.1"


def visit(
    *,
    state_dir: str,
    install_dir: str,
    version: str,
    bundle: str = "",
    socket: str = "",
    force: bool = False,
    full: bool = False,
    verify: bool = False,
    save: bool = True,
) -> Visit:
    """Return the result of ``look``, with resolved paths, present files and the engine's answer.

    ``socket`` connects long steps to the run. Without it they could outlive their controller, so a
    host that lacks it is refused. Raises RequirementError or BusyError.
    """
    _require_python()
    state_dir = os.path.abspath(os.path.expanduser(state_dir))
    receipts, _ = read_all(state_dir)
    install_dir = os.path.realpath(os.path.expanduser(place_of(install_dir, receipts)))
    if save:
        lifeline.sweep(_SOCKETS)
    _require_lifeline(socket)
    refuse_busy(state_dir)
    return {
        "install_dir": install_dir,
        "state_dir": state_dir,
        "home": os.path.realpath(os.path.expanduser("~")),
        "account": _account(state_dir),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "interpreter": sys.executable or "python3",
        "present": _present(os.path.join(install_dir, "data", "models")),
        "filesystem": filesystems.filesystem(install_dir),
        "engine": _ask(receipts),
        "loads_engine": kernel.can_load(_ENGINE_LIBRARY),
        "lingers": os.path.exists(LINGER_DIRECTORY + gather_session()["user"]),
        "context": look(
            state_dir=state_dir,
            install_dir=install_dir,
            version=version,
            bundle=bundle,
            force=force,
            full=full,
            verify=verify,
            save=save,
        ),
    }


def _account(state_dir: str) -> str:
    """Return a digest that identifies this account on this machine, whatever name the host has.

    Containers on one machine share its boot id but no directory; copies of a virtual machine have
    different boot ids.
    """
    place = state_dir
    while not os.path.isdir(place) and place != "/":
        place = os.path.dirname(place)
    status = os.stat(place)
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as stream:
        words = (stream.read(64), os.getuid(), state_dir, status.st_dev, status.st_ino)
        return hashlib.sha256(repr(words).encode()).hexdigest()[:32]
    return ""


def _require_python() -> None:
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise RequirementError(
            "the host has Python %d.%d; 3.9 or newer is required" % sys.version_info[:2],
            code="HOST_PYTHON_OLD",
            hint="install a newer Python there and set ansible_python_interpreter to it",
        )


def _require_lifeline(path: str) -> None:
    if not path:
        return
    try:
        with contextlib.closing(sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)) as line:
            line.settimeout(10.0)
            line.connect(path)
    except OSError as error:
        raise RequirementError(
            "the host's sshd does not forward sockets (%s)" % (error.strerror or error),
            code="HOST_NO_FORWARDING",
            hint="set 'AllowStreamLocalForwarding yes' in its sshd_config; dream-runner needs it "
            "to stop long steps",
        ) from error


def refuse_busy(state_dir: str) -> None:
    """Refuse a host on which another dream-runner is running."""
    try:
        handle = os.open(os.path.join(state_dir, "lock"), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if file_lock.attempt(handle, shared=True) is file_lock.Lock.HELD:
            raise BusyError(
                "'%s' is running on this host" % _holder(handle),
                code="ANOTHER_RUN",
                hint="wait until it ends, then run again",
            )
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        return str(json.loads(os.pread(handle, 4096, 0).decode())["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return "dream-runner"


def _present(directory: str) -> Dict[str, int]:
    """Return how many bytes of each model file are present, complete or partial."""
    found = held(directory)
    parts = {name[: -len(".part")]: done for name, done in found.items() if name.endswith(".part")}
    return {**parts, **{name: size for name, size in found.items() if not name.endswith(".part")}}


def _ask(receipts: Receipts) -> EngineAnswer:
    """Ask the model one question if an install has recorded its answer."""
    health = receipts.get("health", {})
    facts = health.get("facts", {})
    if health.get("state") != "done" or not facts.get("url"):
        return {"url": "", "answers": False, "why": "no install has finished on this host"}
    seen = serving.ask(receipts, _ANSWER_SECONDS)
    answer: EngineAnswer = {
        "url": seen.get("url", ""),
        "model": seen.get("model") or facts.get("model", ""),
    }
    if not seen.get("answers"):
        return {**answer, "answers": False, "why": seen["why"]}
    return {**answer, "answers": True, "why": "", "seconds": seen["seconds"]}
