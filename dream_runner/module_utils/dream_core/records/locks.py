"""Locks that keep an install and the upgrade in the background apart."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Iterator

from ..errors import BusyError
from ..system import file_lock

#: Held while the upgrade switches the model; in the state directory.
_TURN = "upgrade.lock"
_TURN_SECONDS = 900.0


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
        if file_lock.attempt(handle, shared=True, seconds=seconds) is file_lock.Lock.HELD:
            raise BusyError(
                "this host is switching to its downloaded model right now",
                code="ANOTHER_RUN",
                hint="wait for it to end, then run again; 'dream-runner status' shows its progress",
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
            path = os.path.join(state_dir, name)
            handle = file_lock.opened(path)
            stack.callback(os.close, handle)
            is_held = file_lock.attempt(handle) is file_lock.Lock.HELD
            if is_held or not file_lock.is_current(handle, path):
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
