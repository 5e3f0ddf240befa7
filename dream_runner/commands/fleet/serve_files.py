"""Serve the files that hosts lack: from this machine, and from hosts that have them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ... import wording
from ...fleet import blob_store, visit_hosts
from ...fleet.peer_sharing import Shares, offers_of
from ...fleet.seen import Seen
from ...fleet.session import Fleet
from ...module_utils.dream_core.errors import DreamError, Interrupted
from ...module_utils.dream_core.fetch.request import Network
from ...module_utils.dream_core.fetch.request import Progress as Fetched
from ...run.events import Progress
from .open_fleet import OpenFleet


@dataclass(frozen=True)
class Sources:
    """Where hosts get model files.

    ``direct``: every host downloads from the origin. ``serve``: an address of this machine.
    ``share``: hosts serve the files that they have, at ``share_port`` (0: any).
    """

    direct: bool = False
    serve: str = ""
    share: bool = False
    share_port: int = 0


@dataclass
class Served:
    """The fleet with its file servers. ``traffic`` is filled in when they have closed."""

    fleet: Fleet
    traffic: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def serving(
    fleet: Fleet,
    found: visit_hosts.Found,
    due: Mapping[str, Seen],
    sources: Sources,
    opened: OpenFleet,
) -> Iterator[Served]:
    """Serve the files that hosts lack."""
    store = blob_store.Store(blob_store.cache_directory(fleet.caller))
    needing = [seen.choice for seen in due.values() if seen.needs_model]
    models = [choice["model"] for choice in needing]
    helpers = [item for choice in needing for item in (choice["stack"] or {}).get("models", ())]
    files = [
        item
        for item in blob_store.wanted([*models, *helpers])
        if item.local_path or not sources.direct
    ]
    origin = sum(_provide(store, item, fleet, opened) for item in files)
    with blob_store.Server(store, fleet.wires.blobs, sources.serve) as server:
        if server.url:
            opened.view.note(f"serving the model files at {server.url}")
        shares = _sharing(fleet, server, found, sources)
        served = Served(replace(fleet, server=server, shares=shares))
        with shares or contextlib.nullcontext():
            if shares:
                _begin_sharing(shares, bool(models), opened)
            yield served
        served.traffic = {
            "origin_bytes": origin,
            "served_bytes": server.bytes_served,
            "peer_bytes": shares.bytes_served if shares else 0,
        }


def _sharing(
    fleet: Fleet, server: blob_store.Server, found: visit_hosts.Found, sources: Sources
) -> Shares | None:
    """Return the hosts that may serve files, if --share is set; this machine serves already."""
    if not sources.share:
        return None
    seen = {name: item for name, item in found.items() if isinstance(item, Seen)}
    names = [name for name in seen if not fleet.hosts[name].is_here]
    return Shares(fleet.wires, server.token, offers_of(seen, names), sources.share_port)


def _begin_sharing(shares: Shares, is_needed: bool, opened: OpenFleet) -> None:
    """Start serving from up-to-date hosts before the first other host needs files."""

    def begin(name: str) -> bool:
        begun = is_needed and shares.begin(name)
        if not begun:
            opened.fleet.wires.close_connection(name)
        return begun

    with ThreadPoolExecutor(max_workers=16) as pool:
        count = sum(pool.map(begin, opened.rested))
    if count:
        opened.view.note(
            f"{wording.plural(count, 'up-to-date host')} serving model files to the others"
        )


def _provide(
    store: blob_store.Store, item: blob_store.Wanted, fleet: Fleet, opened: OpenFleet
) -> int:
    """Download a file to this machine; return the bytes from its origin.

    If that fails, the hosts download it themselves, unless only this machine has the source.
    """

    def show(seen: Fetched) -> None:
        if opened.crew.interrupted:
            raise Interrupted("stopped during a download", code="INTERRUPTED")
        rate, note = seen.rate, seen.note
        opened.view.take(
            Progress(
                time.time(), "controller", "models", item.file, seen.done, seen.total, rate, note
            )
        )

    try:
        return store.provide(item, Network.from_environment(fleet.caller), show)
    except DreamError as error:
        if item.local_path or isinstance(error, Interrupted):
            raise
        opened.view.note(
            f"cannot download {item.file} to this machine ({error}); every host downloads it",
            "warning",
        )
        return 0
