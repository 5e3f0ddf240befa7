"""Read one small page: limited in size and time, with credentials only for its origin."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ...errors import UsageError
from ..faults import SourceFault, from_exception, from_status
from ..request import Network, Patience
from . import address as addresses
from .link import Link
from .wire import Response

_MAX_HOPS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Page:
    """A page: its final address, its media type, its content."""

    url: str
    kind: str
    content: bytes


def read(
    url: str, network: Network, patience: Patience, accept: str, limit: int, seconds: float
) -> Page:
    """Fetch ``url``: at most ``limit`` bytes, in at most ``seconds``.

    Raises SourceFault, with the code BAD_ANSWER for an answer that cannot be the page.
    """
    link = Link(network, patience)
    try:
        return _follow(link, url, network, accept, limit, time.monotonic() + seconds)
    finally:
        link.close()


def _follow(
    link: Link, url: str, network: Network, accept: str, limit: int, deadline: float
) -> Page:
    credentials = addresses.authorization(url, network, None)
    first, current = addresses.parse(url), url
    for _ in range(_MAX_HOPS):
        address = addresses.parse(current)
        headers = {"User-Agent": "dream-runner", "Accept": accept, "Accept-Encoding": "identity"}
        headers.update(credentials if address.origin == first.origin else {})
        try:
            response = link.get(address, headers)
            if response.status in _REDIRECTS:
                current = _redirected(current, response)
                link.close()
                continue
            return Page(current, _media_type(response), _body(response, limit, deadline))
        except Exception as error:
            link.close()
            raise from_exception(error) from error
    raise SourceFault("REDIRECT_LOOP", "too many redirects", permanent=True)


def _redirected(current: str, response: Response) -> str:
    try:
        location = addresses.follow(current, response.head.get("Location"))
    except UsageError as error:
        what = "redirects to an invalid address: %s" % error.what
        raise SourceFault("REDIRECT_REFUSED", what, permanent=True) from error
    if location.startswith("https:") or current.startswith("http:"):
        return location
    what = "redirects to %s" % addresses.shown(location)
    raise SourceFault("REDIRECT_REFUSED", what, permanent=True)


def _media_type(response: Response) -> str:
    if response.status != 200:
        raise from_status(response.status, response.head.get("Retry-After"))
    if response.head.list("Content-Encoding") not in ([], ["identity"]):
        raise _unusable("its answer is compressed although this was not requested")
    return response.head.get("Content-Type").split(";")[0].strip().lower()


def _body(response: Response, limit: int, deadline: float) -> bytes:
    content = response.read(limit + 1, max(0.0, deadline - time.monotonic()))
    if len(content) > limit:
        raise _unusable("its answer is larger than %d KiB" % (limit >> 10))
    if response.length is not None and len(content) < response.length:
        raise SourceFault("TRUNCATED", "its answer is incomplete")
    return content


def _unusable(what: str) -> SourceFault:
    return SourceFault("BAD_ANSWER", what, permanent=True)
