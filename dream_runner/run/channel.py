"""The socket of a run: it receives events, and closing it stops the connected modules."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import socket
import struct
import threading
from collections.abc import Callable

from .events import Event, parse


class Channel:
    """The socket of a run: receives lines from any number of senders, one event at a time.

    Closing it ends every connected module (``dream_core/system/lifeline.py``).
    """

    def __init__(self, run_id: str, on_event: Callable[[Event], None]) -> None:
        self.path = f"@dream-runner-{run_id}-{secrets.token_hex(8)}"
        self._on_event = on_event
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._readers: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Channel:
        self._server.bind("\0" + self.path[1:])
        self._server.listen(64)
        self._worker = threading.Thread(target=self._dispatch, daemon=True)
        self._worker.start()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._events.put(None)
        self._worker.join(timeout=5)

    def close(self) -> None:
        """Close the life line of all connected modules."""
        for connection in [self._server, *self._connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def drain(self) -> None:
        """Wait until everything that was sent has been passed on."""
        for reader in self._readers:
            reader.join(timeout=2)
        self._events.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if not _is_ours(connection):
                connection.close()
                continue
            self._connections.append(connection)
            reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
            self._readers.append(reader)
            reader.start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = parse(json.loads(line))
                    if event is not None:
                        self._events.put(event)

    def _dispatch(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._on_event(event)
            finally:
                self._events.task_done()
        self._events.task_done()


def _is_ours(connection: socket.socket) -> bool:
    """Tell whether the peer is this user or root: an abstract socket has no file mode."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return uid in (0, os.getuid())
