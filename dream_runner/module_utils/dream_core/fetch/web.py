"""HTTP sources: ranged requests over keep-alive connections, nothing believed.

Redirects are followed by hand, so that credentials stay with their origin, a step
from https down to http is refused, and the digest that a hub states on the way is
seen. What comes back must be exactly the range that was asked for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import http.client
import re
import socket
import ssl
import threading
import time
from typing import Dict, List, Optional, Tuple
from urllib.parse import urljoin

from ..errors import UsageError
from . import address as addresses
from .address import Address
from .faults import SourceFault, from_exception, from_status
from .request import Network, Patience

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_HOPS = 10
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d+)", re.ASCII)
_NETWORK_ERRORS = (OSError, http.client.HTTPException)
#: Bodies of redirects and errors up to this length are read to keep the connection.
_DRAIN = 64 * 1024
#: A server of this run in the same network answers sooner than one of the world, or is gone.
_PEER_CONNECT_SECONDS = 5.0
_PEER_STALL_SECONDS = 10.0


class Link:
    """The one connection of one worker; it reconnects when the origin changes."""

    def __init__(self, network: Network, patience: Patience) -> None:
        self._network = network
        self._patience = patience
        self._connection: Optional[http.client.HTTPConnection] = None
        self._origin: Optional[addresses.Origin] = None
        self._aborted = False
        #: Seconds from a request to the first byte of its answer; 0 before any.
        self.latency = 0.0

    def get(self, address: Address, headers: Dict[str, str]) -> http.client.HTTPResponse:
        """Return the response to a GET. Raises OSError or HTTPException."""
        reused = self._connection is not None and self._origin == address.origin
        try:
            return self._get(address, headers)
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            # A server may close an idle connection at any time; that is no fault.
            if not reused or self._aborted:
                raise
            return self._get(address, headers)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._origin = None, None

    def abort(self) -> None:
        """Wake a thread that waits on this connection; it gets an error, now and later."""
        self._aborted = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _get(self, address: Address, headers: Dict[str, str]) -> http.client.HTTPResponse:
        if self._aborted:
            raise ConnectionAbortedError("the fetch is ending")
        if self._connection is None or self._origin != address.origin:
            self.close()
            self._connection = self._connect(address)
            self._origin = address.origin
        proxy = addresses.proxy_for(address, self._network)
        target, extra = address.target, {}
        if proxy and address.scheme == "http":
            target = "http://%s%s" % (address.host_header, address.target)
            extra = addresses.proxy_authorization(address, self._network)
        started = time.monotonic()
        self._connection.request(
            "GET", target, headers={"Host": address.host_header, **headers, **extra}
        )
        response = self._connection.getresponse()
        self.latency = time.monotonic() - started
        return response

    def _tls(self, address: Address) -> ssl.SSLContext:
        network = self._network
        is_checked = not network.trusts(address.host, address.port)
        return _tls(network.ca_file, network.client_cert, is_checked)

    def _connect(self, address: Address) -> http.client.HTTPConnection:
        proxy = addresses.proxy_for(address, self._network)
        near = proxy or address
        timeout, stall = self._patience.connect_seconds, self._patience.stall_seconds
        if address.scheme != addresses.UNIX and addresses.is_peer(address, self._network):
            timeout, stall = min(timeout, _PEER_CONNECT_SECONDS), min(stall, _PEER_STALL_SECONDS)
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(
                near.host, near.port, timeout=timeout, context=self._tls(address)
            )
        elif address.scheme == addresses.UNIX:
            connection = _UnixConnection(address.host, timeout)
        else:
            connection = http.client.HTTPConnection(near.host, near.port, timeout=timeout)
        if proxy and address.scheme == "https":
            credentials = addresses.proxy_authorization(address, self._network)
            connection.set_tunnel(address.host, address.port, credentials)
        connection.connect()
        connection.sock.settimeout(stall)
        return connection


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a server that listens on a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@functools.lru_cache(maxsize=4)
def _tls(ca_file: str, client_cert: str = "", is_checked: bool = True) -> ssl.SSLContext:
    """Return the TLS settings; reading the system's authorities takes a while, so once."""
    file = ca_file
    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
        file = client_cert
        if client_cert:
            context.load_cert_chain(client_cert)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            "the certificate file %s cannot be used: %s" % (file, error),
            code="BAD_CA_FILE",
            where=file,
        ) from error
    if not is_checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Body:
    """The bytes of one response, from ``position`` of the file onwards.

    ``end`` is where the response says it ends, None if it does not say.
    """

    def __init__(
        self, response: http.client.HTTPResponse, link: Link, position: int, end: Optional[int]
    ) -> None:
        self._response = response
        self._link = link
        self.position = position
        self.end = end
        #: The size of the file as this response states it; 0 if it does not.
        self.total = 0
        self._chunked = bool(response.chunked)

    def readinto(self, view: memoryview) -> int:
        """Read what has arrived into ``view``; 0 at the end. Raises SourceFault."""
        if self.end is not None:
            view = view[: self.end - self.position]
        if not len(view):
            return 0
        try:
            # readinto1 on the socket's reader: one system call, no copy, and no
            # byte lost when the next one times out.
            if self._chunked:
                count = self._response.readinto(view)
            else:
                count = self._response.fp.readinto1(view)
        except (*_NETWORK_ERRORS, ValueError, AttributeError) as error:
            self._link.close()
            if isinstance(error, (ValueError, AttributeError)):
                # The connection was closed under the reader: the fetch is ending.
                raise SourceFault("CONNECTION_LOST", "connection closed") from error
            raise from_exception(error) from error
        self.position += count
        return count

    def close(self) -> None:
        """End the response; the connection stays usable only if all was read."""
        finished = self.end is not None and self.position >= self.end
        if self._chunked or not finished or self._response.will_close:
            self._link.close()
        self._response.close()


class HttpSource:
    """One URL, and what its server taught us: ranges, validator, where it leads."""

    def __init__(
        self, url: str, network: Network, sha256: str, hub: Optional[addresses.Origin] = None
    ) -> None:
        self.label = addresses.shown(url)
        self.parallel = True
        #: Another peer comes after this one: the first failure is enough to go on to it.
        self.is_spare = False
        #: The strong ETag, for If-Range; and any tag or date, to tell versions apart.
        self.validator = ""
        self.identity = ""
        #: The identity of content that an earlier run proved to be another file's.
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
        """Return a body that holds byte ``start``; it may begin before it.

        ``size`` 0 is unknown. Raises SourceFault.
        """
        for _ in range(4):
            asked_ranges, etag = self.parallel, self.validator if self._conditional else ""
            try:
                response = self._follow(link, self._headers(start, end, etag))
                body = self._accept(response, link, start, end, size)
            except _NETWORK_ERRORS as error:
                link.close()
                raise from_exception(error) from error
            except SourceFault as fault:
                link.close()
                if not self._try_otherwise(fault, asked_ranges):
                    raise
                continue
            if response.status == 200 and asked_ranges:
                if etag and start > 0 and self._note_change(etag, response):
                    body.close()
                    continue
                self._no_ranges("the server ignores Range")
            self._learn_validator(response)
            if self.refuted and self.identity == self.refuted:
                link.close()
                what = "it still serves the content that was refuted before"
                raise SourceFault("DIGEST_MISMATCH", what, stale=True)
            return body
        raise SourceFault("RANGE_BROKEN", "the server answers ranges inconsistently")

    def pieces(self, link: Link, count: int) -> bytes:
        """Return the sha256 of each of the file's ``count`` pieces, one after the other.

        Empty where this source, a peer, does not tell them.
        """
        address = addresses.parse(self._url + "/pieces")
        try:
            response = link.get(address, {"User-Agent": "dream-runner", **self._authorization})
            if response.status == 200 and _content_length(response) == count * 32:
                return response.read()
            _drain(response, link)
        except _NETWORK_ERRORS:
            link.close()
        return b""

    def _headers(self, start: int, end: Optional[int], etag: str) -> Dict[str, str]:
        headers = {
            "User-Agent": "dream-runner",
            "Accept": "*/*",
            # A compressed answer would have other bytes and another length.
            "Accept-Encoding": "identity",
        }
        if self.parallel:
            headers["Range"] = "bytes=%d-%s" % (start, "" if end is None else end - 1)
            if etag and start > 0:
                headers["If-Range"] = etag
        return headers

    def _follow(self, link: Link, headers: Dict[str, str]) -> http.client.HTTPResponse:
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
            _drain(response, link)
            if url in seen:
                break
        raise SourceFault("REDIRECT_LOOP", "redirects without end", permanent=True)

    def _next(self, url: str, response: http.client.HTTPResponse) -> str:
        location = urljoin(url, response.getheader("Location") or "")
        try:
            target = addresses.parse(location)
        except UsageError as error:
            raise SourceFault("REDIRECT_REFUSED", error.what, permanent=True) from error
        # It could send us to services that only this host reaches.
        if self.is_peer or target.scheme == addresses.UNIX:
            what = "redirects to %s" % addresses.shown(location)
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True)
        if addresses.parse(url).scheme == "https" and target.scheme == "http":
            what = "redirects from https to http (%s)" % addresses.shown(location)
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True)
        return location

    def _final(
        self, response: http.client.HTTPResponse, link: Link, url: str
    ) -> http.client.HTTPResponse:
        if response.status in (200, 206, 416):
            # Later ranges go straight to where the redirects led.
            self._resolved = url
            return response
        fault = self._refusal(response, url)
        _drain(response, link)
        raise fault

    def _refusal(self, response: http.client.HTTPResponse, url: str) -> SourceFault:
        fault = from_status(response.status, response.reason, response.getheader("Retry-After"))
        if fault.permanent and url != self._url:
            # A signed URL expires; the original one leads to a new one.
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
        return False

    def _no_ranges(self, why: str) -> None:
        with self._lock:
            if self.parallel:
                self.parallel = False
                self.notes.append("%s: %s; asking for the whole file" % (self.label, why))

    def _note_change(self, etag: str, response: http.client.HTTPResponse) -> bool:
        """Return True if the range is to be asked for again, without the old condition.

        The digest decides what is right, so other content under a new validator
        is no reason to throw away what is here.
        """
        current = _strong_etag(response)
        if current == etag:
            return False
        with self._lock:
            self.validator, self._conditional = current, False
            self.notes.append("%s: the server changed its version of the file" % self.label)
        return True

    def _learn_validator(self, response: http.client.HTTPResponse) -> None:
        etag = _strong_etag(response)
        with self._lock:
            if self.validator and etag and etag != self.validator and self._conditional:
                self._conditional = False
            self.validator = etag or self.validator
            self.identity = response.getheader("ETag") or response.getheader("Last-Modified") or ""

    def _check_stated_digest(self, response: http.client.HTTPResponse) -> None:
        stated = _stated_digest(response)
        if stated and stated != self._sha256:
            raise SourceFault("CATALOGUE_STALE", "the server states sha256 %s" % stated, stale=True)

    def _accept(
        self,
        response: http.client.HTTPResponse,
        link: Link,
        start: int,
        end: Optional[int],
        size: int,
    ) -> Body:
        if response.status == 416:
            return _accept_nothing(response, link, start)
        encoding = (response.getheader("Content-Encoding") or "identity").lower()
        if encoding != "identity":
            what = "the body is encoded as %s" % encoding
            raise SourceFault("ENCODED_BODY", what, permanent=True)
        if response.status == 200:
            return self._accept_whole(response, link, size)
        return self._accept_range(response, link, start, end, size)

    def _accept_whole(self, response: http.client.HTTPResponse, link: Link, size: int) -> Body:
        length = _content_length(response)
        html = (response.getheader("Content-Type") or "").startswith("text/html")
        if html and (length is None or not size or length != size):
            raise SourceFault("NOT_THE_FILE", "an HTML page instead of the file", permanent=True)
        if size and length is not None and length != size:
            raise _other_size(length, size)
        body = Body(response, link, 0, length)
        body.total = length or 0
        return body

    def _accept_range(
        self,
        response: http.client.HTTPResponse,
        link: Link,
        start: int,
        end: Optional[int],
        size: int,
    ) -> Body:
        first, last, total = _content_range(response)
        if size and total and total != size:
            raise _other_size(total, size)
        if first != start or last < first or (end is not None and last >= end):
            what = "asked for bytes %d-%s, got %d-%d" % (start, end and end - 1, first, last)
            raise SourceFault("RANGE_BROKEN", what)
        length = _content_length(response)
        if length is not None and length != last - first + 1:
            what = "a range of %d bytes announced as %d" % (last - first + 1, length)
            raise SourceFault("RANGE_BROKEN", what)
        body = Body(response, link, first, last + 1)
        body.total = total
        return body


def _accept_nothing(response: http.client.HTTPResponse, link: Link, start: int) -> Body:
    """Return an empty body: of a file whose size was not known, all is here already."""
    found = _UNSATISFIED.fullmatch((response.getheader("Content-Range") or "").strip())
    _drain(response, link)
    if not found or int(found.group(1)) != start:
        raise SourceFault("RANGE_BROKEN", "HTTP 416 for a range inside the file")
    body = Body(response, link, start, start)
    body.total = start
    return body


def _other_size(stated: int, size: int) -> SourceFault:
    what = "the server states %d bytes instead of %d" % (stated, size)
    return SourceFault("SIZE_MISMATCH", what, stale=True)


def _content_range(response: http.client.HTTPResponse) -> Tuple[int, int, int]:
    found = _RANGE.fullmatch((response.getheader("Content-Range") or "").strip())
    if not found:
        raise SourceFault("RANGE_BROKEN", "HTTP 206 without a usable Content-Range")
    first, last, total = found.groups()
    return int(first), int(last), 0 if total == "*" else int(total)


def _content_length(response: http.client.HTTPResponse) -> Optional[int]:
    value = response.getheader("Content-Length")
    if value is None or response.chunked or not value.strip().isdigit():
        return None
    return int(value)


def _strong_etag(response: http.client.HTTPResponse) -> str:
    etag = (response.getheader("ETag") or "").strip()
    return etag if etag.startswith('"') and len(etag) < 512 else ""


def _stated_digest(response: http.client.HTTPResponse) -> str:
    """Return the sha256 that a hub or a Repr-Digest header states, or ``""``."""
    linked = (response.getheader("X-Linked-ETag") or "").strip().strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        return linked
    found = re.search(r"sha-256=:([^:]+):", response.getheader("Repr-Digest") or "")
    if not found:
        return ""
    try:
        raw = base64.b64decode(found.group(1), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == 32 else ""


def _drain(response: http.client.HTTPResponse, link: Link) -> None:
    length = response.length
    if length is None or length > _DRAIN:
        link.close()
    else:
        response.read()
    response.close()
