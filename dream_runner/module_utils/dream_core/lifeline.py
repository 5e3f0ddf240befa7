"""The wrapper's socket: progress goes up, and its end ends the module.

Measured: a SIGKILL of the wrapper leaves every module below it running. A
module that holds this socket learns of it at once, locally and over SSH.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from typing import Any, Callable, Optional


class Lifeline:
    """A connection to the wrapper, or a silent stand-in when there is none.

    ``on_lost`` runs once, in a thread, when the wrapper's end closes; the
    default ends this process by SIGTERM, after two seconds by SIGKILL. Its
    children are bound to it (process.py). Use as a context manager.
    """

    def __init__(
        self,
        path: str = "",
        phase: str = "",
        host: str = "localhost",
        on_lost: Optional[Callable[[], None]] = None,
    ) -> None:
        self._phase = phase
        self._host = host
        self._on_lost = on_lost or _end_this_process
        self._closing = False
        self._lock = threading.Lock()
        self._socket: Optional[socket.socket] = None
        if path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # "@name" is Linux' abstract namespace: no file that a killed run leaves.
            connection.connect("\0" + path[1:] if path.startswith("@") else path)
            self._socket = connection
            threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "Lifeline":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def progress(self, what: str, done: int, total: int, rate: float, note: str = "") -> None:
        """Report bytes done, bytes in all (0: unknown) and bytes per second."""
        self._send(
            {
                "type": "progress",
                "time": time.time(),
                "host": self._host,
                "phase": self._phase,
                "what": what,
                "done": int(done),
                "total": int(total),
                "rate": float(rate),
                "note": note,
            }
        )

    def close(self) -> None:
        """Say goodbye; ``on_lost`` does not run any more."""
        self._closing = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _send(self, message: Any) -> None:
        if self._socket is None:
            return
        # A broken connection is the watcher's business: it sees the same end of file.
        with contextlib.suppress(OSError), self._lock:
            self._socket.sendall((json.dumps(message) + "\n").encode())

    def _watch(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            while self._socket.recv(4096):
                pass
        if not self._closing:
            self._on_lost()


def _end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)
