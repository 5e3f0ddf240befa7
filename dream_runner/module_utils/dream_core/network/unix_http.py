"""HTTP over a Unix socket."""

from __future__ import annotations

import http.client
import os
import socket


def connect(path: str, seconds: float) -> socket.socket:
    """Connect to the Unix socket at ``path``; return the socket. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        folder, name = os.path.split(path)
        # Through the directory's descriptor, so that a path of any length fits into the address.
        entry = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect("/proc/self/fd/%d/%s" % (entry, name))
        finally:
            os.close(entry)
    except BaseException:
        sock.close()
        raise
    return sock


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a server on a Unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path, self._seconds = path, seconds

    def connect(self) -> None:
        """Connect to the socket. Raises OSError."""
        self.sock = connect(self._path, self._seconds)
