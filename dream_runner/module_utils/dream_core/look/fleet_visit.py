"""Look at a host from elsewhere: all that a fleet run needs to know of it, in one go."""

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

#: Where a controller puts its sockets; what an earlier one left there is removed.
_SOCKETS = "/tmp/dream-runner-*.sock"
#: A large model that was swapped out needs its time for the first token.
_ANSWER_SECONDS = 120.0
#: What the native engine needs from the system.
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
    """Return what ``look`` finds, with paths resolved, files present and the engine's answer.

    ``socket`` is the life line of the run: without it long steps could outlive
    their controller, so that a host that does not have it is refused.
    Raises RequirementError or BusyError.
    """
    _require_python()
    state_dir = os.path.abspath(os.path.expanduser(state_dir))
    receipts, _ = read_all(state_dir)
    install_dir = os.path.realpath(os.path.expanduser(place_of(install_dir, receipts)))
    if save:
        lifeline.sweep(_SOCKETS)
    _require_lifeline(socket)
    _refuse_busy(state_dir)
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
    """Return a digest that is the same for two names of one account on one machine, and only then.

    Containers share the boot of their machine, but no directory; copies of a virtual machine
    share no boot.
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
            "the host's Python is %d.%d, 3.9 or newer is needed" % sys.version_info[:2],
            code="HOST_PYTHON_OLD",
            hint="install a newer one there and name it in ansible_python_interpreter",
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
            "the host's sshd forwards no sockets (%s)" % (error.strerror or error),
            code="HOST_NO_FORWARDING",
            hint="'AllowStreamLocalForwarding yes' in its sshd_config; "
            "long steps stop through such a socket when the controller is gone",
        ) from error


def _refuse_busy(state_dir: str) -> None:
    """Refuse a host on which somebody runs dream-runner right now."""
    try:
        handle = os.open(os.path.join(state_dir, "lock"), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if file_lock.attempt(handle, shared=True) is file_lock.Lock.HELD:
            raise BusyError(
                "'%s' is working on this host" % _holder(handle),
                code="ANOTHER_RUN",
                hint="wait for it to end, then run again",
            )
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        return str(json.loads(os.pread(handle, 4096, 0).decode())["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return "dream-runner"


def _present(directory: str) -> Dict[str, int]:
    """Return the bytes that are there of each model file, whole or in parts."""
    found = held(directory)
    parts = {name[: -len(".part")]: done for name, done in found.items() if name.endswith(".part")}
    return {**parts, **{name: size for name, size in found.items() if not name.endswith(".part")}}


def _ask(receipts: Receipts) -> EngineAnswer:
    """Ask the model one question, where an install once proved that it answers."""
    health = receipts.get("health", {})
    facts = health.get("facts", {})
    if health.get("state") != "done" or not facts.get("url"):
        return {"url": "", "answers": False, "why": "no install has ended here"}
    seen = serving.ask(receipts, _ANSWER_SECONDS)
    answer: EngineAnswer = {
        "url": seen.get("url", ""),
        "model": seen.get("model") or facts.get("model", ""),
    }
    if not seen.get("answers"):
        return {**answer, "answers": False, "why": seen["why"]}
    return {**answer, "answers": True, "why": "", "seconds": seen["seconds"]}
