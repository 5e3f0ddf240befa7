"""HTTP sources: range requests over keep-alive connections, with strict checks.

Redirects are followed here, so that credentials stay with their origin, a redirect from https to
http is rejected, and the digest in a hub's redirect is read. The answer must be exactly the
requested range.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Dict, List, Optional

from ...errors import UsageError
from ..faults import SourceFault, from_exception, from_status
from ..request import Network
from . import address as addresses
from .body import LOOK_BYTES, Body, content_range, drain, empty_body, stated_digest, strong_etag
from .impostors import imposter
from .link import Link
from .wire import Response

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_HOPS = 10
_PIECES_SECONDS = 60.0
_NOT_OF_THE_ADDRESS = ("NETWORK_LOGIN", "PROXY_REFUSED")


class HttpSource:
    """One URL, and what is known about its server: ranges, validator, redirect target."""

    def __init__(
        self, url: str, network: Network, sha256: str, hub: Optional[addresses.Origin] = None
    ) -> None:
        self.label = addresses.shown(url)
        self.parallel = True
        #: Another peer comes after this one, so one failure is enough to switch to it.
        self.is_spare = False
        #: The strong ETag for If-Range, and any tag or date that identifies the version.
        self.validator = ""
        self.identity = ""
        #: The version that an earlier run found to be another file.
        self.refuted = ""
        self.notes: List[str] = []
        self._url = url
        self._sha256 = sha256
        self.is_peer = addresses.is_peer(addresses.parse(url), network)
        self._authorization = addresses.authorization(url, network, hub)
        self._resolved = url
        self._conditional = True
        self._lock = threading.Lock()

    def open(self, link: Link, start: int, end: Optional[int], size: int) -> Body:
        """Return a body that contains byte ``start``; it may begin earlier.

        ``size`` 0 is unknown. Raises SourceFault.
        """
        for _ in range(4):
            asked_ranges, etag = self.parallel, self.validator if self._conditional else ""
            try:
                response = self._follow(link, self._headers(start, end, etag))
                body = self._accept(response, link, start, end, size)
            except Exception as error:
                link.close()
                fault = from_exception(error)
                if not self._try_otherwise(fault, asked_ranges):
                    raise fault from error
                continue
            if response.status != 206 and response.status != 416 and asked_ranges:
                if etag and start > 0 and self._note_change(etag, response):
                    body.close()
                    continue
                self._no_ranges("the server ignores Range")
            self._learn_validator(response)
            if self.refuted and self.identity == self.refuted:
                link.close()
                what = "its content was wrong before, and it has not changed"
                raise SourceFault("DIGEST_MISMATCH", what, stale=True)
            return body
        raise SourceFault("RANGE_BROKEN", "the server answers ranges inconsistently")

    def pieces(self, link: Link, count: int) -> bytes:
        """Return the sha256 of each of the file's ``count`` pieces, in order.

        Empty if this source, a peer, does not have them.
        """
        address = addresses.parse(self._url + "/pieces")
        try:
            response = link.get(address, {"User-Agent": "dream-runner", **self._authorization})
            if response.status == 200 and response.length == count * 32:
                told = response.read(count * 32, _PIECES_SECONDS)
                return told if len(told) == count * 32 else b""
            drain(response, link)
        except Exception as error:
            # Raises the exception if it is not a fault of the peer.
            from_exception(error)
            link.close()
        return b""

    def _headers(self, start: int, end: Optional[int], etag: str) -> Dict[str, str]:
        headers = {
            "User-Agent": "dream-runner",
            "Accept": "*/*",
            # A compressed answer would have different bytes and another length.
            "Accept-Encoding": "identity",
        }
        if self.parallel:
            headers["Range"] = "bytes=%d-%s" % (start, "" if end is None else end - 1)
            if etag and start > 0:
                headers["If-Range"] = etag
        return headers

    def _follow(self, link: Link, headers: Dict[str, str]) -> Response:
        url, seen = self._resolved, set()
        for _ in range(_MAX_HOPS):
            address = addresses.parse(url)
            first = addresses.parse(self._url)
            credentials = self._authorization if address.origin == first.origin else {}
            response = link.get(address, {**headers, **credentials})
            self._check_stated_digest(response)
            if response.status not in _REDIRECTS:
                return self._final(response, link, url)
            seen.add(url)
            url = self._next(url, response)
            drain(response, link)
            if url in seen:
                break
        raise SourceFault("REDIRECT_LOOP", "too many redirects", permanent=True)

    def _next(self, url: str, response: Response) -> str:
        try:
            location = addresses.follow(url, response.head.get("Location"))
        except UsageError as error:
            what = "redirects to an invalid address: %s" % error.what
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True) from error
        # It could redirect to services that only this host can reach.
        if self.is_peer:
            what = "redirects to %s" % addresses.shown(location)
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True)
        if url.startswith("https:") and not location.startswith("https:"):
            what = "redirects from https to http (%s)" % addresses.shown(location)
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True)
        return location

    def _final(self, response: Response, link: Link, url: str) -> Response:
        if response.status in (200, 203, 206, 416):
            # Later ranges are requested directly from the redirect target.
            self._resolved = url
            return response
        fault = self._refusal(response, url)
        drain(response, link)
        raise fault

    def _refusal(self, response: Response, url: str) -> SourceFault:
        fault = from_status(response.status, response.head.get("Retry-After"))
        if fault.permanent and fault.code not in _NOT_OF_THE_ADDRESS and url != self._url:
            # A signed URL expires; the original URL redirects to a new one.
            return SourceFault("SIGNED_URL_EXPIRED", fault.what + " after a redirect")
        return fault

    def _try_otherwise(self, fault: SourceFault, asked_ranges: bool) -> bool:
        with self._lock:
            if fault.code == "SIGNED_URL_EXPIRED":
                again = self._resolved != self._url
                self._resolved = self._url
                return again
        if fault.code == "RANGE_BROKEN" and asked_ranges:
            self._no_ranges(fault.what)
            return True
        # A server that sends a part of a whole request does so again.
        fault.permanent = fault.permanent or fault.code == "RANGE_BROKEN"
        return False

    def _no_ranges(self, why: str) -> None:
        with self._lock:
            if self.parallel:
                self.parallel = False
                self.notes.append("%s: %s; requesting the whole file" % (self.label, why))

    def _note_change(self, etag: str, response: Response) -> bool:
        """Return True if the range must be requested again, without the old condition.

        The digest decides, so a new validator is no reason to discard the present bytes.
        """
        current = strong_etag(response)
        if current == etag:
            return False
        with self._lock:
            self.validator, self._conditional = current, False
            self.notes.append("%s: the server changed its version of the file" % self.label)
        return True

    def _learn_validator(self, response: Response) -> None:
        etag = strong_etag(response)
        with self._lock:
            if self.validator and etag and etag != self.validator and self._conditional:
                self._conditional = False
            self.validator = etag or self.validator
            self.identity = (response.head.get("ETag") or response.head.get("Last-Modified"))[:512]

    def _check_stated_digest(self, response: Response) -> None:
        stated = stated_digest(response)
        if stated and stated != self._sha256:
            raise SourceFault("CATALOGUE_STALE", "the server states sha256 %s" % stated, stale=True)

    def _accept(
        self,
        response: Response,
        link: Link,
        start: int,
        end: Optional[int],
        size: int,
    ) -> Body:
        if response.status == 416:
            return empty_body(response, link, start)
        if response.head.list("Content-Encoding") not in ([], ["identity"]):
            what = "the body is encoded although this was not requested"
            raise SourceFault("ENCODED_BODY", what, permanent=True)
        if response.status == 206:
            body = self._accept_range(response, link, start, end)
        else:
            body = Body(response, link, 0, response.length)
            body.total = response.length or 0
        self._check_kind(body, response, size)
        if size and body.total and body.total != size:
            raise _other_size(body.total, size)
        return body

    def _check_kind(self, body: Body, response: Response, size: int) -> None:
        """Raise SourceFault for a page or pointer in place of the file.

        Content with the wanted size or digest is not checked.
        """
        if size and body.total == size:
            return
        is_page = "text/html" in response.head.get("Content-Type").lower()
        if not is_page and not 0 < body.total <= LOOK_BYTES and not size:
            return
        content = body.look() if body.position == 0 else b""
        if len(content) == body.total and hashlib.sha256(content).hexdigest() == self._sha256:
            return
        what = imposter(content, is_page, self._sha256)
        if what:
            raise SourceFault("NOT_THE_FILE", what, permanent=True)

    def _accept_range(self, response: Response, link: Link, start: int, end: Optional[int]) -> Body:
        first, last, total = content_range(response)
        if first != start or last < first or (end is not None and last >= end):
            what = "requested bytes %d-%s, got %d-%d" % (start, end and end - 1, first, last)
            raise SourceFault("RANGE_BROKEN", what)
        if total and last >= total:
            raise SourceFault("RANGE_BROKEN", "a range beyond the end of the file")
        length = response.length
        if length is not None and length != last - first + 1:
            what = "a range of %d bytes, but a Content-Length of %d" % (last - first + 1, length)
            raise SourceFault("RANGE_BROKEN", what)
        body = Body(response, link, first, last + 1)
        body.total = total
        return body


def _other_size(stated: int, size: int) -> SourceFault:
    what = "the server states %d bytes instead of %d" % (stated, size)
    return SourceFault("SIZE_MISMATCH", what, stale=True)
