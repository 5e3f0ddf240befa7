"""Read what the environment says of the network: one list of variables for every reader.

The fetcher, pip, the package manager, the client of registries, doctor and the unit that fetches
later all ask here, so that a variable that one of them knows counts for all. What cannot be
right is named by its variable before anything starts, and no part of a login is ever shown.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import urlsplit

from ..errors import UsageError
from . import pip_config

#: Each in lower and in upper case; the lower case counts first, as for curl and Python.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = "no_proxy"
#: Files with authorities, then directories of them. All are trusted, besides the system's own.
CA_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
CA_DIRS = ("SSL_CERT_DIR",)
_LOGINS = ("NETRC", "HF_TOKEN")
_ENDPOINT = "HF_ENDPOINT"
_PIP = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"),
    *("PIP_TRUSTED_HOST", "PIP_CLIENT_CERT", "PIP_PROXY", "PIP_CONFIG_FILE"),
)
_PIP_ADDRESSES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_PROXY_NAMES = tuple(name for lower in _PROXIES for name in (lower, lower.upper()))
_NO_PROXY_NAMES = (_NO_PROXY, _NO_PROXY.upper())
#: Every variable that says how the network is reached.
NAMES = (
    *(*_PROXY_NAMES, *_NO_PROXY_NAMES, *CA_FILES, *CA_DIRS),
    *(*_LOGINS, _ENDPOINT, *_PIP),
)
_PROXY_HINT = "set it to http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"
_QUOTES = "\"'\u2018\u2019\u201c\u201d`"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CERTIFICATE = b"-----BEGIN "
_CA_BYTES = 16 * 1024 * 1024


class Problem(NamedTuple):
    """A variable that cannot be right: its name, what is wrong, the code and what to do."""

    variable: str
    what: str
    code: str
    hint: str


@dataclass(frozen=True)
class NetworkEnvironment:
    """How the network is reached. ``proxies`` maps ``http`` and ``https`` to addresses.

    ``ca`` are files and directories with authorities, in the order of ``CA_FILES``.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: str = ""
    ca: Tuple[str, ...] = ()
    netrc: str = ""
    token: str = field(default="", repr=False)
    endpoint: str = ""
    pip: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(environment: Mapping[str, str]) -> NetworkEnvironment:
    """Return what the variables say. Values that cannot be right are ``problems``' business."""
    home = environment.get("HOME", "")
    return NetworkEnvironment(
        proxies={scheme: url for scheme, (_, url) in _chosen_proxies(environment).items()},
        no_proxy=_first(environment, _NO_PROXY_NAMES)[1],
        ca=tuple(dict.fromkeys(_authorities(environment))),
        netrc=environment.get("NETRC", "") or (home + "/.netrc" if home else ""),
        token=environment.get("HF_TOKEN", "").strip(),
        endpoint=environment.get(_ENDPOINT, "").strip(),
        pip=pip_config.relevant(environment),
    )


def of_programs(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables for a foreign program that may know only some of them.

    Proxies in the lower case that all know; the authorities under each name that one knows.
    """
    known = read(environment)
    found = {scheme + "_proxy": url for scheme, url in known.proxies.items()}
    if known.no_proxy:
        found[_NO_PROXY] = known.no_proxy
    for names, is_kind in ((CA_FILES, os.path.isfile), (CA_DIRS, os.path.isdir)):
        first = next((path for path in known.ca if is_kind(path)), "")
        for name in names:
            value = environment.get(name, "").strip() or first
            if value:
                found[name] = value
    return found


def of_unit(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables that a program needs which inherits none of this environment."""
    return {name: environment[name] for name in NAMES if environment.get(name, "").strip()}


def of_pip(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables for a pip that is to install into a place of ours.

    What pip's files and variables say of index, proxy and certificates counts; its files
    themselves are shut, because they may also say where packages go. Raises UsageError.
    """
    found = pip_config.isolated(environment)
    authorities = [path for path in read(environment).ca if os.path.isfile(path)]
    if authorities:
        # Some versions of pip know none of the other variables.
        found.setdefault("PIP_CERT", authorities[0])
    return found


def require(environment: Mapping[str, str]) -> None:
    """Raise UsageError for the first variable that cannot be right."""
    for problem in problems(environment):
        raise UsageError(
            "%s %s" % (problem.variable, problem.what),
            code=problem.code,
            where=problem.variable,
            hint=problem.hint,
        )


def problems(environment: Mapping[str, str]) -> List[Problem]:
    """Return every variable that cannot be right, without any part of a login."""
    return [
        *_bad_proxies(environment),
        *_bad_authorities(environment),
        *_bad_addresses(environment),
        *_bad_token(environment),
    ]


# --- proxies


def _first(environment: Mapping[str, str], names: Sequence[str]) -> Tuple[str, str]:
    """Return the first variable that is set, and its value; empty if none is."""
    found = ((name, environment.get(name, "").strip()) for name in names)
    return next(((name, value) for name, value in found if value), ("", ""))


def _chosen_proxies(environment: Mapping[str, str]) -> Dict[str, Tuple[str, str]]:
    """Return the variable that counts for each scheme, and its value."""
    found = {}
    for scheme in ("http", "https"):
        names = [scheme + "_proxy", scheme.upper() + "_PROXY", "all_proxy", "ALL_PROXY"]
        if scheme == "http" and "REQUEST_METHOD" in environment:
            # In a CGI program a client can set HTTP_PROXY, by a header "Proxy".
            names.remove("HTTP_PROXY")
        name, value = _first(environment, names)
        if value:
            found[scheme] = name, value
    return found


def _bad_proxies(environment: Mapping[str, str]) -> Iterator[Problem]:
    used = dict.fromkeys(name for name, _ in _chosen_proxies(environment).values())
    for name in (*used, "PIP_PROXY"):
        value = environment.get(name, "")
        what = proxy_fault(value) if value.strip() else ""
        if what:
            yield Problem(name, what, "BAD_PROXY", _PROXY_HINT)
    name, value = _first(environment, _NO_PROXY_NAMES)
    if any(mark in value for mark in _QUOTES):
        hint = "set it to host names and addresses with commas between them"
        yield Problem(name, "has quotes in its value", "BAD_PROXY", hint)


def proxy_fault(value: str) -> str:
    """Return why a proxy's address cannot be used, without any part of it; or ``""``."""
    text = value.strip()
    if any(mark in text[:1] + text[-1:] for mark in _QUOTES):
        return "has quotes in its value"
    if not text.isprintable() or " " in text:
        return "has a blank or control character in its value"
    scheme, mark, rest = text.partition("://")
    if mark and scheme.lower().startswith("socks"):
        return "names a SOCKS proxy; only http proxies can be used"
    if mark and scheme.lower() != "http":
        return "names a proxy that does not use http"
    return _place_fault(rest if mark else text)


def _place_fault(rest: str) -> str:
    place, mark, behind = _cut(rest)
    if mark and "@" in behind:
        return "has '%s' in its user or password; write it as %%%02X" % (mark, ord(mark))
    try:
        parts = urlsplit("http://" + place)
        port = parts.port
    except ValueError:
        return "has an invalid host or port"
    if not parts.hostname or port == 0 or re.search(r"[^\w.:%-]", parts.hostname):
        return "has an invalid host or port"
    return ""


def _cut(rest: str) -> Tuple[str, str, str]:
    """Return what is before the first character that ends a host and port, it, and the rest."""
    found = re.search(r"[/?#\\]", rest)
    if not found:
        return rest, "", ""
    return rest[: found.start()], found.group(), rest[found.end() :]


# --- certificates


def _authorities(environment: Mapping[str, str]) -> Iterator[str]:
    for name in CA_FILES:
        value = environment.get(name, "").strip()
        if value:
            yield os.path.expanduser(value)
    for name in CA_DIRS:
        for folder in environment.get(name, "").split(os.pathsep):
            # OpenSSL passes over one that is missing.
            if os.path.isdir(folder):
                yield folder


def _bad_authorities(environment: Mapping[str, str]) -> Iterator[Problem]:
    for name in (*CA_FILES, "PIP_CLIENT_CERT"):
        path = environment.get(name, "").strip()
        what = _ca_fault(os.path.expanduser(path)) if path else ""
        if what:
            hint = "correct or unset %s" % name
            yield Problem(name, "names %s, %s" % (path, what), "BAD_CA_FILE", hint)


def _ca_fault(path: str) -> str:
    """Return why a file of authorities cannot be used; a directory may be one, too."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return ""
        if not stat.S_ISREG(status.st_mode) or status.st_size > _CA_BYTES:
            return "which is not a certificate file"
        with open(path, "rb") as stream:
            content = stream.read(_CA_BYTES)
    except OSError as error:
        return "which cannot be read: %s" % (error.strerror or "error")
    return "" if _CERTIFICATE in content else "which holds no certificate (PEM)"


# --- addresses and tokens


def _bad_addresses(environment: Mapping[str, str]) -> Iterator[Problem]:
    for name in (_ENDPOINT, *_PIP_ADDRESSES):
        for value in environment.get(name, "").split():
            what = _address_fault(value, is_hub=name == _ENDPOINT)
            if what:
                yield Problem(name, what, "BAD_URL", "set it to https://HOST/PATH")


def _address_fault(value: str, is_hub: bool) -> str:
    if any(mark in value[:1] + value[-1:] for mark in _QUOTES):
        return "has quotes in its value"
    scheme, mark, rest = value.partition("://")
    if not mark or scheme.lower() == "file":
        return "is not an http or https address" if is_hub else ""
    if scheme.lower() not in ("http", "https"):
        return "is not an http or https address"
    place, end, behind = _cut(rest)
    # An address may hold an @ in its path; one behind a user without one does not.
    if end and "@" in behind and ":" in place and _port_fault(place):
        return "has '%s' in its user or password; write it as %%%02X" % (end, ord(end))
    return "has an invalid host or port" if _port_fault(place) else ""


def _port_fault(place: str) -> bool:
    try:
        parts = urlsplit("http://" + place)
        return not parts.hostname or parts.port == 0
    except ValueError:
        return True


def _bad_token(environment: Mapping[str, str]) -> Iterator[Problem]:
    value = environment.get("HF_TOKEN", "").strip()
    if value and not _TOKEN.fullmatch(value):
        what = "has characters that no token has, such as a blank or a line end"
        yield Problem("HF_TOKEN", what, "BAD_TOKEN", "set it again, without blanks and line ends")
