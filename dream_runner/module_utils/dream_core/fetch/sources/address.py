"""URLs, origins, proxies and credentials, and URLs for display without secrets."""

from __future__ import annotations

import base64
import ipaddress
import netrc
import os
import re
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from ...errors import UsageError
from ...files import text_file
from ..request import Network

#: ``http+unix://%2Fpath%2Fof.sock/...`` is HTTP over a Unix socket.
UNIX = "http+unix"
_PORTS = {"http": 80, "https": 443, UNIX: 0}
_HUB_PATH = re.compile(r"/[^/]+/[^/]+/resolve/[^/]+/.+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Characters that need no encoding in an address; a browser encodes the rest as well.
_NOT_CLEAR = re.compile(rb"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~|\\^]")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%25[\w.-]+)?\]|[^:\[\]]*)(?::([0-9]{0,5}))?", re.ASCII)

Origin = Tuple[str, str, int]


@dataclass(frozen=True)
class Address:
    """A parsed URL. ``target`` is the part for a request line to the origin."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> Origin:
        """Return scheme, host and port, which decide who receives a credential."""
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        """Return the value of the Host header."""
        if self.scheme == UNIX:
            return "localhost"
        host = "[%s]" % self.host.partition("%")[0] if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else "%s:%d" % (host, self.port)


def parse(url: str) -> Address:
    """Parse an http or https URL; raises UsageError for any other.

    Letters and spaces are encoded as in a browser; control characters are rejected.
    """
    if url.startswith(UNIX + ":"):
        parts = urlsplit(url)
        return Address(UNIX, unquote(parts.netloc), 0, _target(parts))
    parts = urlsplit(clean(url))
    host = (parts.hostname or "").replace("%25", "%")
    return Address(parts.scheme, host, parts.port or _PORTS[parts.scheme], _target(parts))


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + ("?" + parts.query if parts.query else "")


def clean(url: str) -> str:
    """Return an http or https URL as ASCII: names in IDNA, the rest percent-encoded.

    Raises UsageError BAD_URL, whose text contains no possible secret.
    """
    if _CONTROL.search(url):
        raise _bad_url(url, "has a control character")
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        raise _bad_url(url, "is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise _bad_url(url, "is not an http or https URL")
    login, at, place = parts.netloc.rpartition("@")
    found = _PLACE.fullmatch(place)
    port = found.group(2) if found else ""
    if not found or (port and not 0 < int(port) < 65536):
        raise _bad_url(url, "has an invalid host or port")
    netloc = _encoded(login) + at + _host(url, found.group(1)) + (":" + port if port else "")
    path, query = _encoded(parts.path), _encoded(parts.query)
    return urlunsplit((parts.scheme, netloc, path, query, ""))


def is_web(source: str) -> bool:
    """Return whether a source is an http or https URL."""
    return source[:8].lower().startswith(("http://", "https://"))


def normal(source: str) -> str:
    """Return a source, with a web URL as ASCII. Raises UsageError BAD_URL."""
    return clean(source) if is_web(source.strip()) else source


def follow(url: str, location: str) -> str:
    """Return the URL of a Location header (as latin-1 text), relative to ``url``.

    Raises UsageError BAD_URL.
    """
    text = location.encode("latin-1", "replace").decode("utf-8", "surrogateescape").strip()
    if not text or _CONTROL.search(text):
        raise _bad_url(text, "is empty" if not text else "has a control character")
    try:
        return clean(urljoin(url, text))
    except ValueError:
        raise _bad_url(text, "is not a URL") from None


def _encoded(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    return _NOT_CLEAR.sub(lambda found: b"%%%02X" % found.group()[0], raw).decode("ascii")


def _host(url: str, host: str) -> str:
    """Convert a host to ASCII. Raises UsageError."""
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1].partition("%")[0])
        except ValueError:
            raise _bad_url(url, "has an invalid IPv6 address") from None
        return host
    try:
        # The length of each label is limited, also in ASCII.
        name = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        name = ""
    if not _HOST.fullmatch(name):
        raise _bad_url(url, "names no host" if not host else "has an invalid host name")
    return name


def _bad_url(url: str, why: str) -> UsageError:
    rest = url.partition("://")[2]
    hint = "check the address"
    if "@" in rest and "@" not in re.split(r"[/?#]", rest)[0]:
        hint = "write '/', '?', '#' and '@' in a user name or password as %2F, %3F, %23 and %40"
    return UsageError("%s %s" % (shown(url), why), code="BAD_URL", hint=hint)


def shown(url: str) -> str:
    """Return a URL without possible secrets: user, password, query, parameters, fragment.

    If a password has an unencoded slash, its rest looks like a port or a path.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    login, _, place = parts.netloc.rpartition("@")
    host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    host, colon, port = (host, colon, port) if colon else (port or host, "", "")
    path = re.sub(r";[^/]*", ";...", parts.path)
    stray = not login and "@" in url[len(parts.scheme) + 3 + len(parts.netloc) :]
    if stray:
        path = "/***" + path[path.rindex("@") :] if "@" in path else "/***"
    if colon and (stray or not re.fullmatch(r"[0-9]*", port, re.ASCII)):
        port = "***"
    text = urlunsplit((parts.scheme, host + colon + port, path, "..." if parts.query else "", ""))
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def apply_endpoint(url: str, network: Network) -> str:
    """Return ``url``; the endpoint replaces the origin of a hub URL."""
    if not network.endpoint or not is_web(url):
        return url
    parts = urlsplit(url)
    if not _HUB_PATH.fullmatch(parts.path):
        return url
    base = urlsplit(clean(network.endpoint.rstrip("/")))
    return urlunsplit((base.scheme, base.netloc, base.path + parts.path, parts.query, ""))


def hub_origin(urls: Sequence[str], network: Network) -> Optional[Origin]:
    """Return the only origin that receives the token: the endpoint, or the first hub source.

    A later mirror that looks like a hub gets no token.
    """
    if network.endpoint:
        return parse(network.endpoint).origin
    for url in urls:
        if _HUB_PATH.search(urlsplit(url).path):
            return parse(url).origin
    return None


def authorization(url: str, network: Network, hub: Optional[Origin]) -> Dict[str, str]:
    """Return the authentication headers for the origin of ``url``, and only for that.

    In this order: the peers' token, user and password of the URL, the token for the ``hub``, netrc.
    """
    parts, place = urlsplit(url), parse(url)
    if is_peer(place, network):
        return _bearer(network.peer_token, "the peers' token") if network.peer_token else {}
    if parts.username:
        return _basic(parts)
    # A token is never sent unencrypted over a network.
    safe = place.scheme == "https" or is_loopback(place.host)
    if network.token and safe and place.origin == hub and _HUB_PATH.search(parts.path):
        return _bearer(network.token, "the token (HF_TOKEN)")
    entry = _netrc_entry(network.netrc, place.host)
    return _login(*(text.encode("utf-8", "surrogateescape") for text in entry)) if entry else {}


def is_peer(place: Address, network: Network) -> bool:
    """Return whether ``place`` is a peer, which serves blobs to this run."""
    return any(place.origin == parse(peer).origin for peer in network.peers)


def is_own(url: str, network: Network) -> bool:
    """Return whether ``url`` is on a peer."""
    return any(url.startswith(peer + "/") for peer in network.peers)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine, as an IP address or as localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bearer(token: str, name: str) -> Dict[str, str]:
    """Return the header for a token; a line end around it is removed, one inside is rejected."""
    value = token.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise UsageError(
            "%s has characters that are not valid in a token, such as a space or a line end" % name,
            code="BAD_TOKEN",
            hint="set it again without spaces and line ends",
        )
    return {"Authorization": "Bearer " + value}


def _basic(parts: SplitResult) -> Dict[str, str]:
    user, password = parts.username or "", parts.password or ""
    return _login(unquote_to_bytes(user), unquote_to_bytes(password))


def _login(user: bytes, password: bytes) -> Dict[str, str]:
    raw = base64.b64encode(user + b":" + password)
    return {"Authorization": "Basic " + raw.decode("ascii")}


def _netrc_entry(path: str, host: str) -> Optional[Tuple[str, str]]:
    if not path or not os.path.lexists(path):
        return None
    try:
        found = _parsed(text_file.read(path)).authenticators(host)
    except text_file.Unreadable as error:
        raise _bad_netrc(path, error.reason) from None
    except netrc.NetrcParseError as error:
        # Its message quotes the invalid text, which may be the password.
        line = error.lineno if isinstance(error.lineno, int) else 0
        raise _bad_netrc(path, "line %d has a syntax error" % line) from None
    except OSError as error:
        raise _bad_netrc(path, os.strerror(error.errno or 0)) from None
    except (ValueError, RecursionError):
        raise _bad_netrc(path, "it has a syntax error") from None
    if not found or found[2] is None:
        return None
    return found[0] or "", found[2]


def _parsed(text: str) -> netrc.netrc:
    """Parse a netrc file; the standard library reads only from files."""
    handle = os.memfd_create("netrc", os.MFD_CLOEXEC)
    try:
        os.write(handle, text.encode("utf-8"))
        return netrc.netrc("/proc/self/fd/%d" % handle)
    finally:
        os.close(handle)


def _bad_netrc(path: str, why: str) -> UsageError:
    return UsageError("%s cannot be used: %s" % (path, why), code="BAD_NETRC", where=path)


def proxy_for(address: Address, network: Network) -> Optional[Address]:
    """Return the proxy for ``address``, or None. Raises UsageError if it is invalid."""
    url = network.proxies.get(address.scheme, "")
    if not url or is_peer(address, network) or _bypassed(address, network.no_proxy):
        return None
    proxy = parse(url if "://" in url else "http://" + url)
    if proxy.scheme != "http":
        raise UsageError(
            "the proxy %s is not an http proxy" % shown(url),
            code="BAD_PROXY",
            hint="use an http:// proxy, or add the host to no_proxy",
        )
    return proxy


def proxy_authorization(address: Address, network: Network) -> Dict[str, str]:
    """Return the authentication header for the proxy of ``address``."""
    url = network.proxies.get(address.scheme, "")
    parts = urlsplit(url if "://" in url else "http://" + url)
    if not parts.username:
        return {}
    return {"Proxy-Authorization": _basic(parts)["Authorization"]}


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
