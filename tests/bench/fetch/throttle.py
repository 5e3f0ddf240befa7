"""An HTTP server that gives each connection so many bytes per second, and counts.

One thread, sendfile, a step every few milliseconds: it needs little CPU itself, and it
has no initial burst (nginx's limit_rate grants a second's worth at once).
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STEP_SECONDS = 0.005


@dataclass
class Client:
    """One connection: what is left to send of the current answer."""

    sock: socket.socket
    inbox: bytes = b""
    position: int = 0
    end: int = 0
    credit: float = 0.0


@dataclass
class Throttle:
    """Serves ``file`` at any path. ``sent`` counts body bytes."""

    file: Path
    rate: float
    sent: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._handle = os.open(self.file, os.O_RDONLY)
        self._size = os.fstat(self._handle).st_size
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self._clients: dict[int, Client] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/model.gguf"

    def __enter__(self) -> Throttle:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for client in self._clients.values():
            client.sock.close()
        self._listener.close()
        os.close(self._handle)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            last = time.monotonic()
            while not self._over.is_set():
                for key, _ in selector.select(_STEP_SECONDS):
                    self._ready(selector, key.fileobj)
                now = time.monotonic()
                if now - last >= _STEP_SECONDS:
                    self._step(selector, now - last)
                    last = now

    def _ready(self, selector: Any, sock: Any) -> None:
        if sock is self._listener:
            accepted, _ = self._listener.accept()
            accepted.setblocking(False)
            self._clients[accepted.fileno()] = Client(accepted)
            selector.register(accepted, selectors.EVENT_READ)
            return
        client = self._clients[sock.fileno()]
        try:
            data = sock.recv(65536)
        except OSError:
            data = b""
        client.inbox += data
        if not data:
            self._drop(selector, client)
        elif b"\r\n\r\n" in client.inbox and client.position >= client.end:
            self._answer(client)

    def _answer(self, client: Client) -> None:
        request, _, client.inbox = client.inbox.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d*)", request)
        start, end = 0, self._size
        if found:
            start = int(found[1])
            end = min(self._size, int(found[2]) + 1) if found[2] else self._size
        status = "206 Partial Content" if found else "200 OK"
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {end - start}", 'ETag: "1"']
        lines += ["Accept-Ranges: bytes", "Content-Type: application/octet-stream"]
        if found:
            lines.append(f"Content-Range: bytes {start}-{end - 1}/{self._size}")
        client.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        if not request.startswith(b"HEAD"):
            client.position, client.end = start, end
            self.ranges.append((start, end))

    def _step(self, selector: Any, seconds: float) -> None:
        for client in list(self._clients.values()):
            if client.position >= client.end:
                client.credit = 0.0
                continue
            client.credit = min(client.credit + self.rate * seconds, self.rate / 10)
            count = min(int(client.credit), client.end - client.position)
            try:
                done = os.sendfile(client.sock.fileno(), self._handle, client.position, count)
            except BlockingIOError:
                continue
            except OSError:
                self._drop(selector, client)
                continue
            client.position += done
            client.credit -= done
            self.sent += done

    def _drop(self, selector: Any, client: Client) -> None:
        selector.unregister(client.sock)
        del self._clients[client.sock.fileno()]
        client.sock.close()
