"""A model hub at PORT, in a node: wants a token for its file, and writes down who came.

usage: hub.py PORT. ``/NAME/NAME/resolve/...`` is the file, whole, for ``Bearer hub-token``; every
other path is not found. A line of /var/log/hub-PORT: path, status, what the caller showed.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        shown = self.headers.get("Authorization", "nothing")
        is_file = "/resolve/" in self.path
        status = 404 if not is_file else 200 if shown == "Bearer hub-token" else 401
        content = Path("/srv/smoke.gguf").read_bytes() if status == 200 else b""
        with Path(f"/var/log/hub-{sys.argv[1]}").open("a") as log:
            log.write(f"{self.path} {status} {shown}\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """The log above has it."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
