#!/usr/bin/env python3
"""A read-only container registry over OCI layouts: what ``docker pull`` asks for, and no more.

usage: registry.py PORT NAME=LAYOUT...     NAME is a repository, LAYOUT a directory of archive.py

Any tag of a repository gives its one image, any digest the blob or manifest that has it. Standard
library only, so that it also runs in a bare node: engines speak plain HTTP with 127.0.0.1. With
REGISTRY_BUSY=N in the environment the first N requests for a manifest get 503.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Registry(ThreadingHTTPServer):
    """Serves ``layouts``, by name of repository; ``/sent`` tells how many bytes of them went."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], layouts: Mapping[str, Path]) -> None:
        super().__init__(address, Handler)
        self.layouts = {name: Path(path) for name, path in layouts.items()}
        self.busy = int(os.environ.get("REGISTRY_BUSY", "0"))
        self.sent = 0

    def find(self, path: str) -> tuple[bytes, str, str] | None:
        """Return ``(content, media type, digest)`` of what ``path`` names."""
        for kind in ("/manifests/", "/blobs/"):
            if path.startswith("/v2/") and kind in path:
                name, reference = path[len("/v2/") :].rsplit(kind, 1)
                layout = self.layouts.get(name)
                return layout and self._read(layout, kind, reference)
        return None

    @staticmethod
    def _read(layout: Path, kind: str, reference: str) -> tuple[bytes, str, str] | None:
        manifest = json.loads((layout / "index.json").read_text())["manifests"][0]
        digest = reference if reference.startswith("sha256:") else manifest["digest"]
        blob = layout / "blobs" / "sha256" / digest[len("sha256:") :]
        if not blob.name.isalnum() or not blob.exists():
            return None
        media = manifest["mediaType"] if kind == "/manifests/" else "application/octet-stream"
        return blob.read_bytes(), media, digest


class Handler(BaseHTTPRequestHandler):
    """The three requests of a pull."""

    protocol_version = "HTTP/1.1"
    #: An engine that tries TLS first goes on to plain HTTP only when it is answered in HTTP/1.
    default_request_version = "HTTP/1.0"
    server: Registry

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if self.path == "/v2/":
            found = (b"{}", "application/json", "")
        elif self.path == "/sent":
            found = (b"%d" % self.server.sent, "text/plain", "")
        else:
            found = self.server.find(self.path)
        status = 200 if found else 404
        if "/manifests/" in self.path and self.server.busy > 0:
            self.server.busy -= 1
            found, status = None, 503
        missing = (b'{"errors":[{"code":"NOT_FOUND"}]}', "application/json", "")
        content, media, digest = found or missing
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.wfile.write(content)
            # Several pulls at a time may cost a count; the tests ask for magnitudes.
            self.server.sent += len(content) if found else 0

    def log_message(self, format: str, *args: object) -> None:
        # The first word of an engine may be TLS, which has neither method nor path.
        sys.stderr.write(f"{self.requestline!r} {args[1] if len(args) > 1 else ''}\n")


if __name__ == "__main__":
    Registry(
        ("0.0.0.0", int(sys.argv[1])),
        {name: Path(path) for name, _, path in (item.partition("=") for item in sys.argv[2:])},
    ).serve_forever()
