"""Ctrl-C: heard at once, whatever is going on."""

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

    Not a KeyboardInterrupt, which typer turns into a silent exit, and not an
    Exception, which a careful caller may catch.
    """


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Let Ctrl-C raise Stopped; a run puts its own handling in the place of this."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    # Where a shell started us with the signal ignored, it stays ignored.
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
    """Say at once that a signal was heard, although ending a run takes a moment.

    The run has the signal handlers; this listens beside them, on the wakeup
    descriptor, and says something from another thread.
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
    lines = iter(("Stopping; Ctrl-C again ends it at once.", "Ending at once."))
    while numbers := reader.recv(64):
        for number in numbers:
            line = next(lines, None) if number in _ENDING else None
            if line:
                say(line)
