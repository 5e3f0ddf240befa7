"""Handle Ctrl-C at once, whatever is running."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Stopped(BaseException):
    """Ctrl-C outside a run.

    It is not a KeyboardInterrupt, which typer turns into a silent exit, and not an Exception,
    which other code may catch.
    """


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Make Ctrl-C raise Stopped. A run replaces this with its own handler."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # If the shell started us with the signal ignored, keep it ignored.
    if usual:
        signal.signal(signal.SIGINT, _raise)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped


@contextlib.contextmanager
def announced(say: Callable[[str], None]) -> Iterator[None]:
    """Report a signal at once, because stopping a run takes a moment.

    The signal handlers belong to the run. This listens on the wakeup descriptor and reports from
    another thread.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(reader, say), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        thread.join(timeout=1)
        reader.close()


def _listen(reader: socket.socket, say: Callable[[str], None]) -> None:
    lines = iter(("Stopping. Press Ctrl-C again to stop at once.", "Stopping at once."))
    while numbers := reader.recv(64):
        for number in numbers:
            line = next(lines, None) if number in _ENDING else None
            if line:
                say(line)
