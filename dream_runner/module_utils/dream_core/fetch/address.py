"""URLs and who may see what: origins, proxies, credentials, and names fit to show."""

from __future__ import annotations

import base64
import ipaddress
import netrc
import re
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import UsageError
from .request import Network

#: ``http+unix://%2Fpath%2Fof.sock/...`` is HTTP over a Unix socket.
UNIX = "http+unix"
_PORTS = {"http": 80, "https": 443, UNIX: 0}
_HUB_PATH = re.compile(r"/[^/]+/[^/]+/resolve/[^/]+/.+")

Origin = Tuple[str, str, int]


@dataclass(frozen=True)
class Address:
    """A URL taken apart. ``target`` is what a request line asks an origin for."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> Origin:
        """The scheme, host and port: who gets to see a credential."""
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        """The value of the Host header."""
        if self.scheme == UNIX:
            return "localhost"
        host = "[%s]" % self.host if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else "%s:%d" % (host, self.port)


def parse(url: str) -> Address:
    """Return the address of an http or https URL; raises UsageError for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError("%s is not a URL (%s)" % (shown(url), error), code="BAD_URL") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError("%s is not an http or https URL" % shown(url), code="BAD_URL")
    if re.search(r"[\s\x00-\x1f]", url):
        raise UsageError("%s has a space or control character" % shown(url), code="BAD_URL")
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    if parts.scheme == UNIX:
        return Address(parts.scheme, unquote(parts.netloc), 0, target)
    return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], target)


def shown(url: str) -> str:
    """Return a URL without what may be secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    query = "..." if parts.query else ""
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def apply_endpoint(url: str, network: Network) -> str:
    """Return ``url``, its origin replaced by the endpoint if it is a hub's."""
    parts = urlsplit(url)
    if not network.endpoint or not _HUB_PATH.fullmatch(parts.path):
        return url
    base = urlsplit(network.endpoint.rstrip("/"))
    return urlunsplit((base.scheme, base.netloc, base.path + parts.path, parts.query, ""))


def hub_origin(urls: Sequence[str], network: Network) -> Optional[Origin]:
    """Return the only origin that may see the token: the endpoint, or the first hub named.

    A mirror that looks like a hub and stands further down gets no token.
    """
    if network.endpoint:
        return parse(network.endpoint).origin
    for url in urls:
        if _HUB_PATH.search(urlsplit(url).path):
            return parse(url).origin
    return None


def authorization(url: str, network: Network, hub: Optional[Origin]) -> Dict[str, str]:
    """Return the headers that authenticate at the origin of ``url``, and only there.

    In this order: the token of the peers, user and password of the URL, the token at
    the ``hub``, netrc.
    """
    parts, place = urlsplit(url), parse(url)
    if is_peer(place, network):
        return {"Authorization": "Bearer " + network.peer_token} if network.peer_token else {}
    if parts.username:
        return _basic(unquote(parts.username), unquote(parts.password or ""))
    # A token never crosses a network in clear.
    safe = place.scheme == "https" or is_loopback(place.host)
    if network.token and safe and place.origin == hub and _HUB_PATH.search(parts.path):
        return {"Authorization": "Bearer " + network.token}
    entry = _netrc_entry(network.netrc, place.host)
    return _basic(*entry) if entry else {}


def is_peer(place: Address, network: Network) -> bool:
    """Return whether ``place`` serves blobs to this run."""
    return any(place.origin == parse(peer).origin for peer in network.peers)


def is_own(url: str, network: Network) -> bool:
    """Return whether ``url`` leads to a peer."""
    return any(url.startswith(peer + "/") for peer in network.peers)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine, by number or as localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _basic(user: str, password: str) -> Dict[str, str]:
    raw = ("%s:%s" % (user, password)).encode("utf-8")
    return {"Authorization": "Basic " + base64.b64encode(raw).decode("ascii")}


def _netrc_entry(path: str, host: str) -> Optional[Tuple[str, str]]:
    if not path:
        return None
    try:
        found = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError) as error:
        # The message of a parse error holds a line number, never a password.
        reason = getattr(error, "msg", None) or getattr(error, "strerror", "")
        raise UsageError(
            "%s cannot be read: %s" % (path, reason), code="BAD_NETRC", where=path
        ) from None
    if not found or found[2] is None:
        return None
    return found[0] or "", found[2]


def proxy_for(address: Address, network: Network) -> Optional[Address]:
    """Return the proxy to use for ``address``, or None; raises UsageError if unusable."""
    url = network.proxies.get(address.scheme, "")
    if not url or is_peer(address, network) or _bypassed(address, network.no_proxy):
        return None
    proxy = parse(url if "://" in url else "http://" + url)
    if proxy.scheme != "http":
        raise UsageError(
            "the proxy %s is not an http proxy" % shown(url),
            code="BAD_PROXY",
            hint="give an http:// proxy, or exempt the host in no_proxy",
        )
    return proxy


def proxy_authorization(address: Address, network: Network) -> Dict[str, str]:
    """Return the header that authenticates at the proxy of ``address``."""
    url = network.proxies.get(address.scheme, "")
    parts = urlsplit(url if "://" in url else "http://" + url)
    if not parts.username:
        return {}
    value = _basic(unquote(parts.username), unquote(parts.password or ""))
    return {"Proxy-Authorization": value["Authorization"]}


def _bypassed(address: Address, no_proxy: str) -> bool:
    for entry in no_proxy.replace(",", " ").split():
        host, _, port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
        if port and port != str(address.port):
            continue
        if host == "*" or _matches(address.host, host.strip("[]").lower()):
            return True
    return False


def _matches(host: str, pattern: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        suffix = pattern.lstrip("*").lstrip(".")
        return bool(suffix) and (host == suffix or host.endswith("." + suffix))
