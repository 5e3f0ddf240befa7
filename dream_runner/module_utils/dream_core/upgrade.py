"""How far the upgrade of a fast start is: read back from the host, never from a status file alone.

What the unit's program says of itself counts only while systemd shows the very process that
said it: each start of a unit has an id of its own (``InvocationID``), which the program writes
beside its words. How many bytes are there, the journal of the partial tells.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from . import atomic, faststart, filelock
from .errors import BusyError
from .fetch.partial import partial_progress
from .session import SYSTEM_PATH

SCHEMA = "dream-runner.upgrade/1"

#: What the program is at, in its order. ``failed`` is final: the small model stays.
FETCHING, WAITING, TESTING, SWITCHING, RETIRING, FAILED = (
    "fetching",
    "waiting",
    "testing",
    "switching",
    "retiring",
    "failed",
)
#: What only systemd can tell, where the program itself says nothing.
STARTING, RESTARTING, STOPPED = "starting", "restarting", "stopped"

#: Held by the program from its last look at the receipts until it is done with the containers.
_TURN = "upgrade.lock"
_TURN_SECONDS = 900.0
_PROPERTIES = ("ActiveState", "SubState", "InvocationID")


class Paths:
    """Where everything of an upgrade lies."""

    def __init__(self, install_dir: str) -> None:
        self.folder = os.path.join(install_dir, faststart.FOLDER)
        self.document = os.path.join(self.folder, "upgrade.json")
        self.network = os.path.join(self.folder, "network.env")
        self.state = os.path.join(self.folder, "state.json")
        self.models = os.path.join(install_dir, "data", "models")
        self.env_file = os.path.join(install_dir, ".env")


def look(
    receipts: Mapping[str, Any], show: Optional[Callable[[str, str], Dict[str, str]]] = None
) -> Optional[Dict[str, Any]]:
    """Return how far a pending upgrade is, or None where none is pending.

    ``{model, until, stage, why, done_bytes, total_bytes, unit, scope, unit_state}``; ``until`` is
    the model that answers meanwhile. ``show`` asks systemd and is replaced in tests.
    """
    wanted = faststart.pending(receipts)
    if not wanted:
        return None
    install_dir = str(receipts["models"].get("install_dir") or "")
    shown = (show or show_unit)(str(wanted["unit"]), str(wanted["scope"]))
    said, _ = atomic.read_json(Paths(install_dir).state)
    stage, why = stage_of(shown, said if isinstance(said, dict) else {})
    done, total = progress(Paths(install_dir).models, wanted["files"])
    return {
        "model": wanted["model"],
        "until": wanted["until"],
        "stage": stage,
        "why": why,
        "done_bytes": done,
        "total_bytes": total,
        "unit": wanted["unit"],
        "scope": wanted["scope"],
        "unit_state": shown.get("ActiveState", ""),
    }


def stage_of(shown: Mapping[str, str], said: Mapping[str, Any]) -> Tuple[str, str]:
    """Return what the program is at and why, of what systemd shows and the program said."""
    active = shown.get("ActiveState", "")
    invocation = shown.get("InvocationID", "")
    is_its_own = bool(invocation) and said.get("invocation") == invocation
    if active == "active":
        return (str(said["stage"]), str(said.get("why", ""))) if is_its_own else (STARTING, "")
    if active == "failed":
        if is_its_own and said.get("stage") == FAILED:
            return FAILED, str(said.get("why", ""))
        return FAILED, "its program ended without a word; see its log"
    if active in ("activating", "deactivating", "reloading"):
        return RESTARTING, "it ended early and is started again"
    return STOPPED, "its unit does not run"


def progress(models_dir: str, files: List[Mapping[str, Any]]) -> Tuple[int, int]:
    """Return the bytes that are there, and all of them (0: unknown)."""
    done = total = 0
    known = True
    for item in files:
        path = os.path.join(models_dir, str(item["file"]))
        size = int(item.get("size_bytes") or 0)
        if os.path.isfile(path):
            here, whole = os.path.getsize(path), os.path.getsize(path)
        else:
            here, whole = partial_progress(path) or (0, 0)
        done += here
        total += size or whole
        known = known and bool(size or whole)
    return done, total if known else 0


def sentence(seen: Mapping[str, Any], size: Callable[[int], str]) -> str:
    """Return one sentence for people; ``size`` writes bytes in words."""
    head = "%s answers until %s does" % (seen["until"], seen["model"])
    if seen["stage"] == FAILED:
        return "%s answers; %s does not take its place: %s" % (
            seen["until"],
            seen["model"],
            seen["why"],
        )
    amount = ""
    if seen["total_bytes"]:
        percent = 100 * seen["done_bytes"] // seen["total_bytes"]
        amount = "%d %% of %s" % (min(100, percent), size(seen["total_bytes"]))
    elif seen["done_bytes"]:
        amount = size(seen["done_bytes"])
    parts = [seen["stage"], *([amount] if amount else []), *([seen["why"]] if seen["why"] else [])]
    return "%s (%s: %s)" % (head, seen["unit"], ", ".join(parts))


def show_unit(name: str, scope: str, properties: Sequence[str] = _PROPERTIES) -> Dict[str, str]:
    """Return what systemd shows of the unit; nothing where there is none to ask."""
    program = shutil.which("systemctl", path=SYSTEM_PATH)
    if program is None:
        return {}
    argv = [program, *(["--user"] if scope == "user" else []), "show", name]
    argv.append("--property=" + ",".join(properties))
    # A connection without a login session does not know where the user's manager is.
    place = {"XDG_RUNTIME_DIR": "/run/user/%d" % os.getuid(), **os.environ}
    try:
        done = subprocess.run(
            argv, env=place, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


# --- one at a time ----------------------------------------------------------------------


@contextlib.contextmanager
def kept_off(state_dir: str, seconds: float = _TURN_SECONDS) -> Iterator[None]:
    """Keep the upgrade from switching while a phase records that it begins.

    A run by the wrapper holds the install's lock, which the upgrade respects; one by hand
    does not. Raises BusyError ANOTHER_RUN when a switch does not end.
    """
    try:
        handle = os.open(os.path.join(state_dir, _TURN), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # No upgrade has ever had its turn here.
        yield
        return
    try:
        if filelock.attempt(handle, shared=True, seconds=seconds) is filelock.Lock.HELD:
            raise BusyError(
                "the upgrade of the model is switching engines on this host",
                code="ANOTHER_RUN",
                hint="wait for it to end, then run again; dream-runner status tells",
            )
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def turn(state_dir: str) -> Iterator[bool]:
    """Try to be the only one who changes this host; yield whether that is so.

    Takes the install's own lock as well, signed like the wrapper's, so that a person who
    installs meanwhile reads who is at work.
    """
    with contextlib.ExitStack() as stack:
        for name in ("lock", _TURN):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(os.path.join(state_dir, name), flags, 0o600)
            stack.callback(os.close, handle)
            if filelock.attempt(handle) is filelock.Lock.HELD:
                yield False
                return
            _sign(handle)
        yield True


def _sign(handle: int) -> None:
    import json

    holder = {"pid": os.getpid(), "started": time.time(), "command": "the upgrade of the model"}
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
