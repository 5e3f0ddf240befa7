"""One download for the whole fleet: verified files, served by digest during the run.

The server (``dream_core/fetch/blob_server.py``) listens on a Unix socket that every SSH connection
forwards to its host. So it is encrypted and needs no open port, no firewall rule and no route
around a jump host. ``--serve ADDRESS`` adds a plain HTTP port for local networks that are
faster than SSH. With ``--share``, hosts serve files too (peer_sharing.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

from .. import paths
from ..module_utils.dream_core.errors import IntegrityError, UsageError
from ..module_utils.dream_core.fetch import blob_server
from ..module_utils.dream_core.fetch.disk.stamp import is_present
from ..module_utils.dream_core.fetch.fetcher import fetch
from ..module_utils.dream_core.fetch.request import FetchRequest, Network, Progress
from ..module_utils.dream_core.system import ip_addresses


@dataclass(frozen=True)
class Wanted:
    """A file that hosts need: its digest, size (0: unknown), and where it comes from."""

    file: str
    sha256: str
    size_bytes: int
    urls: tuple[str, ...]

    @property
    def local_path(self) -> str:
        """Return the path of the file if its source is on this machine, else an empty string."""
        for url in self.urls:
            if url.startswith("package:"):
                return str(paths.catalog() / url.removeprefix("package:"))
            if url.startswith("file:"):
                return unquote(urlsplit(url).path)
        return ""


def wanted(models: Iterable[Mapping[str, Any]]) -> list[Wanted]:
    """Return the files of the models, each digest once."""
    files = {
        str(item["sha256"]): Wanted(
            str(item["file"]),
            str(item["sha256"]),
            int(item.get("size_bytes") or 0),
            tuple(item["urls"]),
        )
        for model in models
        for item in model["files"]
    }
    return list(files.values())


class Store:
    """The verified files of this controller, by digest. Downloads are kept for later runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths: dict[str, str] = {}

    def open(self, sha256: str) -> IO[bytes] | None:
        """Return the file of this digest, or None."""
        path = self._paths.get(sha256)
        try:
            return open(path, "rb") if path else None
        except OSError:
            return None

    def provide(
        self, item: Wanted, network: Network, on_progress: Callable[[Progress], None]
    ) -> int:
        """Download and verify ``item``; return the bytes that came from its origin.

        Raises DreamError as ``fetch`` does, IntegrityError for a local file with another digest.
        """
        if item.local_path:
            self._paths[item.sha256] = _verified(item)
            return 0
        path = str(self._directory / item.sha256)
        done = fetch(
            FetchRequest(
                path=path,
                sha256=item.sha256,
                sources=item.urls,
                size_bytes=item.size_bytes,
                mode=0o600,
                network=network,
            ),
            on_progress,
        )
        self._paths[item.sha256] = path
        return done.bytes_fetched


def _verified(item: Wanted) -> str:
    path = item.local_path
    found = is_present(path, item.sha256, item.size_bytes, verify=True, write=False)
    if not found.present:
        raise IntegrityError(
            f"{path} does not have the expected SHA-256: {found.why}",
            code="LOCAL_FILE_WRONG",
            hint="check the path and the digest",
        )
    return path


class Server(blob_server.Server):
    """Serve a store on a Unix socket and, if given, on a TCP address."""

    def __init__(self, store: Store, unix_path: str, address: str = "") -> None:
        super().__init__(store)
        self.url = ""
        if address:
            self.url = base_address(*_listen(self, address))
        self.listen_unix(unix_path)

    def peers(self, unix_path: str) -> list[str]:
        """Return the base URLs for a host on which our socket is at ``unix_path``."""
        return [*([self.url] if self.url else []), f"http+unix://{quote(unix_path, safe='')}"]


def _listen(server: blob_server.Server, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":") if address.count(":") == 1 else (address, "", "0")
    try:
        return server.listen(host, int(port))
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {address!r}: {error}",
            code="SERVE_ADDRESS",
            where="--serve",
            hint="use an address of this machine, with an optional port, for example 10.0.0.5:8123",
        ) from error


def base_address(host: str, port: int) -> str:
    """Return the base URL of a server."""
    return ip_addresses.base_url(host, port)


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory of downloaded files (XDG cache); create it."""
    base = environment.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    directory = root / "dream-runner" / "blobs"
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
