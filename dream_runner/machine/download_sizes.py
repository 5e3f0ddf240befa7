"""Ask servers for file sizes before any download, for plans and disk checks.

Requests one byte in the same way as a fetch (proxies, certificates, tokens, redirects). A size is
only a hint: files are identified by their digest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from ..module_utils.dream_core.errors import DreamError
from ..module_utils.dream_core.fetch.faults import SourceFault
from ..module_utils.dream_core.fetch.request import Network, Patience
from ..module_utils.dream_core.fetch.sources import address as addresses
from ..module_utils.dream_core.fetch.sources.link import Link
from ..module_utils.dream_core.fetch.sources.local import local_path
from ..module_utils.dream_core.fetch.sources.web import HttpSource
from ..module_utils.dream_core.fetch.sources.wheel_address import is_wheel
from ..module_utils.dream_core.types.choice import ModelFile

#: Short, because the user waits for the plan.
SECONDS = 4.0
_PATIENCE = Patience(connect_seconds=3.0, stall_seconds=3.0, attempts=1)


def ask(files: Sequence[ModelFile], network: Network, seconds: float = SECONDS) -> dict[str, int]:
    """Return the size of each file whose server answers in time; ask in parallel."""
    found: dict[str, int] = {}

    def learn(item: ModelFile) -> None:
        size = _of(item, network)
        if size:
            found[str(item["file"])] = size

    threads = [threading.Thread(target=learn, args=(item,), daemon=True) for item in files]
    _run(threads, seconds)
    # A late answer must not change the returned result.
    return dict(found)


def _run(threads: Sequence[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _of(item: ModelFile, network: Network) -> int:
    """Return the size from the first source that reports one, else 0."""
    for url in item["urls"]:
        try:
            size = _of_source(str(url), item, network)
        except (OSError, SourceFault, DreamError):
            continue
        if size:
            return size
    return 0


def _of_source(url: str, item: ModelFile, network: Network) -> int:
    digest = str(item.get("sha256") or "")
    place = addresses.apply_endpoint(addresses.normal(url.replace("{sha256}", digest)), network)
    if is_wheel(place):
        return 0
    path = local_path(place, str(item["file"]), digest)
    if path is not None:
        return os.path.getsize(path)
    hub = addresses.hub_origin([place] if addresses.is_web(place) else [], network)
    link = Link(network, _PATIENCE)
    try:
        return int(HttpSource(place, network, digest, hub).open(link, 0, 1, 0).total)
    finally:
        link.close()
