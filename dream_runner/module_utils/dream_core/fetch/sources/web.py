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
import hashlib
import os
import re
import socket
import ssl
import threading
import time
from typing import Dict, List, Optional, Tuple

from ...errors import UsageError
from ..faults import SourceFault, from_exception, from_status
from ..request import Network, Patience
from . import address as addresses
from .address import Address
from .impostors import imposter
from .wire import Pace, Response, Wire, connect, connect_unix, secure

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_HOPS = 10
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
#: Bodies of redirects and errors up to this length and time are read to keep the connection.
_DRAIN = 64 * 1024
_DRAIN_SECONDS = 2.0
#: So much of a small or unexpected answer is looked at to say what it is.
_LOOK = 1024
#: A server of this run in the same network answers sooner than one of the world, or is gone.
_PEER_CONNECT_SECONDS = 5.0
_PEER_STALL_SECONDS = 10.0
_PIECES_SECONDS = 60.0
#: An answer on a connection that was used before may be what is left of the last one.
_NOT_OF_THE_ADDRESS = ("NETWORK_LOGIN", "PROXY_REFUSED")
_STALE_CONNECTION = ("CONNECTION_LOST", "BAD_ANSWER")


class Link:
    """The one connection of one worker; it reconnects when the origin changes."""

    def __init__(self, network: Network, patience: Patience) -> None:
        self._network = network
        self._patience = patience
        self._wire: Optional[Wire] = None
        self._origin: Optional[addresses.Origin] = None
        self._aborted = False
        self.pace = Pace(patience.stall_seconds, patience.floor_bytes_per_second)
        #: Seconds from a request to the first byte of its answer; 0 before any.
        self.latency = 0.0

    def get(self, address: Address, headers: Dict[str, str]) -> Response:
        """Return the response to a GET. Raises OSError or SourceFault."""
        reused = self._wire is not None and self._origin == address.origin
        try:
            return self._get(address, headers)
        except (ConnectionError, SourceFault) as error:
            self.close()
            is_stale = not isinstance(error, SourceFault) or error.code in _STALE_CONNECTION
            # A server may close an idle connection at any time; that is no fault.
            if not reused or self._aborted or not is_stale:
                raise
            return self._get(address, headers)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._wire is not None:
            self._wire.close()
        self._wire, self._origin = None, None

    def abort(self) -> None:
        """Wake a thread that waits on this connection; it gets an error, now and later."""
        self._aborted = True
        wire = self._wire
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def _get(self, address: Address, headers: Dict[str, str]) -> Response:
        if self._aborted:
            raise ConnectionAbortedError("the fetch is ending")
        if self._wire is None or self._origin != address.origin:
            self.close()
            self._wire = self._connect(address)
            self._origin = address.origin
        proxy = addresses.proxy_for(address, self._network)
        target, extra = address.target, {}
        if proxy and address.scheme == "http":
            target = "http://%s%s" % (address.host_header, address.target)
            extra = addresses.proxy_authorization(address, self._network)
        started = time.monotonic()
        self._wire.send(target, {"Host": address.host_header, **headers, **extra})
        response = Response(self._wire, self._wire.head(self._wire.stall_seconds))
        self.latency = time.monotonic() - started
        return response

    def _connect(self, address: Address) -> Wire:
        proxy = addresses.proxy_for(address, self._network)
        near = proxy or address
        timeout, stall = self._patience.connect_seconds, self._patience.stall_seconds
        if address.scheme != addresses.UNIX and addresses.is_peer(address, self._network):
            timeout, stall = min(timeout, _PEER_CONNECT_SECONDS), min(stall, _PEER_STALL_SECONDS)
        if address.scheme == addresses.UNIX:
            return Wire(connect_unix(address.host, timeout), stall)
        context = self._tls(address) if address.scheme == "https" else None
        sock = connect(near.host, near.port, timeout)
        try:
            if proxy and context:
                self._tunnel(Wire(sock, timeout), address)
            if context:
                sock = secure(sock, context, address.host, timeout)
        except BaseException:
            sock.close()
            raise
        return Wire(sock, stall)

    def _tunnel(self, wire: Wire, address: Address) -> None:
        """Ask a proxy for a way to ``address``. Raises OSError or SourceFault."""
        host = "[%s]" % address.host if ":" in address.host else address.host
        place = "%s:%d" % (host, address.port)
        credentials = addresses.proxy_authorization(address, self._network)
        wire.send(place, {"Host": place, **credentials}, method="CONNECT")
        head = wire.head(wire.stall_seconds)
        if not 200 <= head.status < 300:
            fault = from_status(head.status, "", head.get("Retry-After"))
            fault.what = "the proxy says %s" % fault.what
            if fault.permanent and fault.code != "NETWORK_LOGIN":
                fault.code = "PROXY_REFUSED"
            raise fault
        if wire.has_more():
            raise SourceFault("BAD_ANSWER", "the proxy says more than it was asked for")

    def _tls(self, address: Address) -> ssl.SSLContext:
        network = self._network
        is_checked = not network.trusts(address.host, address.port)
        authorities = tuple(dict.fromkeys(filter(None, (network.ca_file, *network.ca))))
        return _tls(authorities, network.client_cert, is_checked)


@functools.lru_cache(maxsize=4)
def _tls(
    authorities: Tuple[str, ...], client_cert: str = "", is_checked: bool = True
) -> ssl.SSLContext:
    """Return the TLS settings; reading the system's authorities takes a while, so once."""
    _require_files(*authorities, client_cert)
    file = ""
    try:
        context = ssl.create_default_context()
        for file in authorities:
            is_folder = os.path.isdir(file)
            context.load_verify_locations(*((None, file) if is_folder else (file, None)))
        file = client_cert
        if client_cert:
            context.load_cert_chain(client_cert, password=_no_password)
    except ssl.SSLError:
        raise _bad_ca_file(file, "it holds no certificate that can be used") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        raise _bad_ca_file(file, why or "it cannot be read") from None
    if not is_checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _require_files(*paths: str) -> None:
    """Raise UsageError for what OpenSSL would wait for: a pipe, a device."""
    for path in filter(os.path.exists, filter(None, paths)):
        if not os.path.isfile(path) and not os.path.isdir(path):
            raise _bad_ca_file(path, "it is not a regular file")


def _no_password() -> str:
    """Return nothing: OpenSSL would ask for a password on the terminal."""
    return ""


def _bad_ca_file(path: str, why: str) -> UsageError:
    what = "the certificate file %s cannot be used: %s" % (path, why)
    return UsageError(what, code="BAD_CA_FILE", where=path)


class Body:
    """The bytes of one response, from ``position`` of the file onwards.

    ``end`` is where the response says it ends, None if it does not say.
    """

    def __init__(self, response: Response, link: Link, position: int, end: Optional[int]) -> None:
        self._response = response
        self._link = link
        self.position = position
        self.end = end
        #: The size of the file as this response states it; 0 if it does not.
        self.total = 0
        self._looked = b""

    def readinto(self, view: memoryview) -> int:
        """Read what has arrived into ``view``; 0 at the end. Raises SourceFault."""
        if self.end is not None:
            view = view[: self.end - self.position]
        if not len(view):
            return 0
        count = self._given(view) if self._looked else self._read(view)
        self.position += count
        return count

    def look(self) -> bytes:
        """Return the first bytes without taking them. Raises SourceFault."""
        buffer = memoryview(bytearray(_LOOK))
        while len(self._looked) < _LOOK:
            count = self._read(buffer[: _LOOK - len(self._looked)])
            if not count:
                break
            self._looked += bytes(buffer[:count])
        return self._looked

    def close(self) -> None:
        """End the response; the connection stays usable only if all was read."""
        if self._looked or not self._response.reusable:
            self._link.close()

    def _given(self, view: memoryview) -> int:
        count = min(len(view), len(self._looked))
        view[:count], self._looked = self._looked[:count], self._looked[count:]
        return count

    def _read(self, view: memoryview) -> int:
        pace = self._link.pace
        pace.check()
        started = time.monotonic()
        try:
            count = self._response.readinto(view)
        except Exception as error:
            self._link.close()
            raise from_exception(error) from error
        pace.note(time.monotonic() - started, count)
        return count


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
                what = "its content was found wrong before, and it has not changed"
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
            if response.status == 200 and response.length == count * 32:
                told = response.read(count * 32, _PIECES_SECONDS)
                return told if len(told) == count * 32 else b""
            _drain(response, link)
        except Exception as error:
            # Raises what is no fault of the peer's.
            from_exception(error)
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
            _drain(response, link)
            if url in seen:
                break
        raise SourceFault("REDIRECT_LOOP", "redirects without end", permanent=True)

    def _next(self, url: str, response: Response) -> str:
        try:
            location = addresses.follow(url, response.head.get("Location"))
        except UsageError as error:
            what = "redirects to an invalid address: %s" % error.what
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True) from error
        # It could send us to services that only this host reaches.
        if self.is_peer:
            what = "redirects to %s" % addresses.shown(location)
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True)
        if url.startswith("https:") and not location.startswith("https:"):
            what = "redirects from https to http (%s)" % addresses.shown(location)
            raise SourceFault("REDIRECT_REFUSED", what, permanent=True)
        return location

    def _final(self, response: Response, link: Link, url: str) -> Response:
        if response.status in (200, 203, 206, 416):
            # Later ranges go straight to where the redirects led.
            self._resolved = url
            return response
        fault = self._refusal(response, url)
        _drain(response, link)
        raise fault

    def _refusal(self, response: Response, url: str) -> SourceFault:
        fault = from_status(response.status, "", response.head.get("Retry-After"))
        if fault.permanent and fault.code not in _NOT_OF_THE_ADDRESS and url != self._url:
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
        # Whoever answers in parts although asked for the whole does so again.
        fault.permanent = fault.permanent or fault.code == "RANGE_BROKEN"
        return False

    def _no_ranges(self, why: str) -> None:
        with self._lock:
            if self.parallel:
                self.parallel = False
                self.notes.append("%s: %s; asking for the whole file" % (self.label, why))

    def _note_change(self, etag: str, response: Response) -> bool:
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

    def _learn_validator(self, response: Response) -> None:
        etag = _strong_etag(response)
        with self._lock:
            if self.validator and etag and etag != self.validator and self._conditional:
                self._conditional = False
            self.validator = etag or self.validator
            self.identity = (response.head.get("ETag") or response.head.get("Last-Modified"))[:512]

    def _check_stated_digest(self, response: Response) -> None:
        stated = _stated_digest(response)
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
            return _accept_nothing(response, link, start)
        if response.head.list("Content-Encoding") not in ([], ["identity"]):
            what = "the body is encoded although it was asked not to be"
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
        """Raise SourceFault for a page or pointer in the place of the file, however it comes.

        What has the wanted size is not judged by its looks, nor what has the wanted digest.
        """
        if size and body.total == size:
            return
        is_page = "text/html" in response.head.get("Content-Type").lower()
        if not is_page and not 0 < body.total <= _LOOK and not size:
            return
        content = body.look() if body.position == 0 else b""
        if len(content) == body.total and hashlib.sha256(content).hexdigest() == self._sha256:
            return
        what = imposter(content, is_page, self._sha256)
        if what:
            raise SourceFault("NOT_THE_FILE", what, permanent=True)

    def _accept_range(self, response: Response, link: Link, start: int, end: Optional[int]) -> Body:
        first, last, total = _content_range(response)
        if first != start or last < first or (end is not None and last >= end):
            what = "asked for bytes %d-%s, got %d-%d" % (start, end and end - 1, first, last)
            raise SourceFault("RANGE_BROKEN", what)
        if total and last >= total:
            raise SourceFault("RANGE_BROKEN", "a range beyond the end of the file")
        length = response.length
        if length is not None and length != last - first + 1:
            what = "a range of %d bytes announced as %d" % (last - first + 1, length)
            raise SourceFault("RANGE_BROKEN", what)
        body = Body(response, link, first, last + 1)
        body.total = total
        return body


def _accept_nothing(response: Response, link: Link, start: int) -> Body:
    """Return an empty body: of a file whose size was not known, all is here already."""
    found = _UNSATISFIED.fullmatch(response.head.get("Content-Range"))
    _drain(response, link)
    if not found or int(found.group(1)) != start:
        raise SourceFault("RANGE_BROKEN", "HTTP 416 for a range inside the file")
    body = Body(response, link, start, start)
    body.total = start
    return body


def _other_size(stated: int, size: int) -> SourceFault:
    what = "the server states %d bytes instead of %d" % (stated, size)
    return SourceFault("SIZE_MISMATCH", what, stale=True)


def _content_range(response: Response) -> Tuple[int, int, int]:
    found = _RANGE.fullmatch(response.head.get("Content-Range"))
    if not found:
        raise SourceFault("RANGE_BROKEN", "HTTP 206 without a usable Content-Range")
    first, last, total = found.groups()
    return int(first), int(last), 0 if total == "*" else int(total)


def _strong_etag(response: Response) -> str:
    etag = response.head.get("ETag")
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]{0,510}"', etag) else ""


def _stated_digest(response: Response) -> str:
    """Return the sha256 that a hub or a Repr-Digest header states, or ``""``."""
    linked = response.head.get("X-Linked-ETag").strip('"').lower()
    if re.fullmatch(r"[0-9a-f]{64}", linked):
        return linked
    found = re.search(r"sha-256=:([^:]+):", response.head.get("Repr-Digest"))
    if not found:
        return ""
    try:
        raw = base64.b64decode(found.group(1), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == 32 else ""


def _drain(response: Response, link: Link) -> None:
    """Read a short body, so that the connection can be used again; else close it."""
    if response.length is not None and response.length <= _DRAIN:
        with contextlib.suppress(OSError, SourceFault):
            response.read(response.length, _DRAIN_SECONDS)
    if not response.reusable:
        link.close()
