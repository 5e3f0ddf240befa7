"""The connection of a worker: direct, through a proxy, with TLS, or over a Unix socket."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import time
from typing import Dict, Optional, Tuple

from ...errors import UsageError
from ...network import unix_http
from ..faults import SourceFault, from_status
from ..request import Network, Patience
from . import address as addresses
from .address import Address
from .wire import Pace, Response, Wire, connect, secure

#: Timeout for a peer of this run, which is in the same network and answers fast.
_PEER_CONNECT_SECONDS = 5.0
_PEER_STALL_SECONDS = 10.0
#: The answer on a reused connection may be the rest of the last one.
_STALE_CONNECTION = ("CONNECTION_LOST", "BAD_ANSWER")


class Link:
    """The connection of one worker; it reconnects when the origin changes."""

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
        """Send a GET; return the response. Raises OSError or SourceFault."""
        reused = self._wire is not None and self._origin == address.origin
        try:
            return self._get(address, headers)
        except (ConnectionError, SourceFault) as error:
            self.close()
            is_stale = not isinstance(error, SourceFault) or error.code in _STALE_CONNECTION
            # A server may close an idle connection at any time, which is not a fault.
            if not reused or self._aborted or not is_stale:
                raise
            return self._get(address, headers)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._wire is not None:
            self._wire.close()
        self._wire, self._origin = None, None

    def abort(self) -> None:
        """Wake a thread that waits for this connection; it gets an error, now and later."""
        self._aborted = True
        wire = self._wire
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)

    def _get(self, address: Address, headers: Dict[str, str]) -> Response:
        if self._aborted:
            raise ConnectionAbortedError("the fetch is stopping")
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
            return Wire(unix_http.connect(address.host, timeout), stall)
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
        """Open a tunnel to ``address`` through a proxy. Raises OSError or SourceFault."""
        host = "[%s]" % address.host if ":" in address.host else address.host
        place = "%s:%d" % (host, address.port)
        credentials = addresses.proxy_authorization(address, self._network)
        wire.send(place, {"Host": place, **credentials}, method="CONNECT")
        head = wire.head(wire.stall_seconds)
        if not 200 <= head.status < 300:
            fault = from_status(head.status, head.get("Retry-After"))
            fault.what = "the proxy answers %s" % fault.what
            if fault.permanent and fault.code != "NETWORK_LOGIN":
                fault.code = "PROXY_REFUSED"
            raise fault
        if wire.has_more():
            raise SourceFault("BAD_ANSWER", "the proxy sent unexpected data")

    def _tls(self, address: Address) -> ssl.SSLContext:
        network = self._network
        is_checked = not network.trusts(address.host, address.port)
        authorities = tuple(dict.fromkeys(filter(None, (network.ca_file, *network.ca))))
        return _tls(authorities, network.client_cert, is_checked)


@functools.lru_cache(maxsize=4)
def _tls(
    authorities: Tuple[str, ...], client_cert: str = "", is_checked: bool = True
) -> ssl.SSLContext:
    """Return the TLS context; created once, because reading the system's authorities is slow."""
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
        raise _bad_ca_file(file, "it contains no usable certificate") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        raise _bad_ca_file(file, why or "it cannot be read") from None
    if not is_checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _require_files(*paths: str) -> None:
    """Raise UsageError for pipes and devices, which would block OpenSSL."""
    for path in filter(os.path.exists, filter(None, paths)):
        if not os.path.isfile(path) and not os.path.isdir(path):
            raise _bad_ca_file(path, "it is not a regular file")


def _no_password() -> str:
    """Return no password: otherwise OpenSSL would ask on the terminal."""
    return ""


def _bad_ca_file(path: str, why: str) -> UsageError:
    what = "the certificate file %s cannot be used: %s" % (path, why)
    return UsageError(what, code="BAD_CA_FILE", where=path)
