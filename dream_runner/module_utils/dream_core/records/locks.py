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
    """Prevent the upgrade from switching models while a phase records its start.

    A run by the wrapper holds the install's lock, which the upgrade respects; a playbook run by
    hand does not. Raises BusyError ANOTHER_RUN if a switch does not finish.
    """
    try:
        handle = os.open(os.path.join(state_dir, _TURN), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # No upgrade has run on this host.
        yield
        return
    try:
        if file_lock.attempt(handle, shared=True, seconds=seconds) is file_lock.Lock.HELD:
            raise BusyError(
                "this host is switching to its downloaded model",
                code="ANOTHER_RUN",
                hint="wait until it finishes, then run again; 'dream-runner status' shows the "
                "progress",
            )
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def turn(state_dir: str) -> Iterator[bool]:
    """Try to get exclusive access to this host; yield whether that succeeded.

    Also takes the install's lock, with the same content as the wrapper's, so that an install in the
    meantime reports what is running.
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
