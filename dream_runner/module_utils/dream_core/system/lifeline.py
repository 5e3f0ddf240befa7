"""The connection to the wrapper's socket: it carries progress, and its end stops the module.

After a SIGKILL of the wrapper its modules keep running. A module with this socket notices it
immediately, locally and over SSH.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import socket
import stat
import threading
import time
from typing import Any, Callable, Optional


class Lifeline:
    """A connection to the wrapper, or a dummy if there is none.

    ``on_lost`` runs once, in a thread, when the wrapper's end closes; by default it stops this
    process with SIGTERM, and after two seconds with SIGKILL. Child processes stop with it
    (process.py). Use it as a context manager.

    A wrapper on another machine grants a lease (``{"lease_seconds": 60}``) and renews it: if the
    network is cut nothing closes, so an expired lease counts as the end, too.
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
            # "@name" is in Linux's abstract namespace, so a killed run leaves no file.
            connection.connect("\0" + path[1:] if path.startswith("@") else path)
            self._socket = connection
            threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "Lifeline":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def progress(self, what: str, done: int, total: int, rate: float, note: str = "") -> None:
        """Report done bytes, total bytes (0: unknown) and bytes per second."""
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

    def notice(self, text: str, level: str = "info") -> None:
        """Show a line to the user."""
        self._send(
            {
                "type": "notice",
                "time": time.time(),
                "host": self._host,
                "level": level,
                "text": text,
            }
        )

    def close(self) -> None:
        """Close the connection; ``on_lost`` will not run any more."""
        self._closing = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _send(self, message: Any) -> None:
        if self._socket is None:
            return
        # The watcher thread handles a broken connection: it sees the same end of file.
        with contextlib.suppress(OSError), self._lock:
            self._socket.sendall((json.dumps(message) + "\n").encode())

    def _watch(self) -> None:
        assert self._socket is not None
        # An expired lease is a TimeoutError, which is an OSError.
        with contextlib.suppress(OSError):
            while True:
                words = self._socket.recv(4096)
                if not words:
                    break
                seconds = _lease(words)
                if seconds:
                    self._socket.settimeout(seconds)
        if not self._closing:
            self._on_lost()


def _lease(words: bytes) -> float:
    """Return the lease in the last complete line in seconds, or 0 if it has none."""
    lines = words.split(b"\n")[:-1]
    try:
        return max(0.0, float(json.loads(lines[-1])["lease_seconds"])) if lines else 0.0
    except (ValueError, KeyError, TypeError):
        return 0.0


def sweep(pattern: str) -> None:
    """Remove this user's sockets that match ``pattern`` and have no server.

    sshd does not remove the file of a forwarded socket when its connection ends.
    """
    for path in glob.glob(pattern):
        try:
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.getuid():
                with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
                    connection.settimeout(1.0)
                    connection.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)
        except OSError:
            continue


def _end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)
