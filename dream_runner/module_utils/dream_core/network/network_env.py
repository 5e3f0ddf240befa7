"""Read the network settings from the environment, with one list of variables for all readers.

The fetcher, pip, the package manager, the registry client, doctor and the background download all
use this module, so that they support the same variables. An invalid variable is reported by its
name before anything starts, and no part of a login is ever shown.
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

#: In lower and upper case; lower case takes precedence, as in curl and Python.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NO_PROXY = "no_proxy"
#: Files with certificate authorities, then directories. All are trusted besides the system's.
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
#: Every variable that configures network access.
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
    """An invalid variable: its name, the problem, the error code and the hint."""

    variable: str
    what: str
    code: str
    hint: str


@dataclass(frozen=True)
class NetworkEnvironment:
    """The network settings. ``proxies`` maps ``http`` and ``https`` to addresses.

    ``ca`` lists files and directories with certificate authorities, in the order of ``CA_FILES``.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: str = ""
    ca: Tuple[str, ...] = ()
    netrc: str = ""
    token: str = field(default="", repr=False)
    endpoint: str = ""
    pip: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(environment: Mapping[str, str]) -> NetworkEnvironment:
    """Return the settings from the variables. ``problems`` reports invalid values."""
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
    """Return the variables for another program, which may know only some of them.

    Proxies are set in lower case, which all programs know, and authorities under every name.
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
    """Return the variables for a program that does not inherit this environment."""
    return {name: environment[name] for name in NAMES if environment.get(name, "").strip()}


def of_pip(environment: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables for a pip that installs into our environment.

    Index, proxy and certificates come from pip's files and variables. pip itself reads no
    configuration file, because one may also set where packages are installed. Raises UsageError.
    """
    found = pip_config.isolated(environment)
    authorities = [path for path in read(environment).ca if os.path.isfile(path)]
    if authorities:
        # Some versions of pip do not know the other variables.
        found.setdefault("PIP_CERT", authorities[0])
    return found


def require(environment: Mapping[str, str]) -> None:
    """Raise UsageError for the first invalid variable."""
    for problem in problems(environment):
        raise UsageError(
            "%s %s" % (problem.variable, problem.what),
            code=problem.code,
            where=problem.variable,
            hint=problem.hint,
        )


def problems(environment: Mapping[str, str]) -> List[Problem]:
    """Return every invalid variable, without any part of a login."""
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
    """Return the effective variable for each scheme, and its value."""
    found = {}
    for scheme in ("http", "https"):
        names = [scheme + "_proxy", scheme.upper() + "_PROXY", "all_proxy", "ALL_PROXY"]
        if scheme == "http" and "REQUEST_METHOD" in environment:
            # In a CGI program, a client can set HTTP_PROXY with a header "Proxy".
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
        hint = "set it to host names and addresses, separated by commas"
        yield Problem(name, "has quotes in its value", "BAD_PROXY", hint)


def proxy_fault(value: str) -> str:
    """Return why a proxy's address is invalid, without any part of it, or ``""``."""
    text = value.strip()
    if any(mark in text[:1] + text[-1:] for mark in _QUOTES):
        return "has quotes in its value"
    if not text.isprintable() or " " in text:
        return "has a space or control character in its value"
    scheme, mark, rest = text.partition("://")
    if mark and scheme.lower().startswith("socks"):
        return "names a SOCKS proxy; only http proxies are supported"
    if mark and scheme.lower() != "http":
        return "is not the address of an http proxy"
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
    """Split an address at the first character that ends the host and port."""
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
            # OpenSSL ignores a missing file.
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
    """Return why a file or directory of certificate authorities cannot be used, or ""."""
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
    return "" if _CERTIFICATE in content else "which contains no PEM certificate"


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
    # A path may contain an @. It counts as part of a login only if the text before it has a colon
    # and is not a valid host and port.
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
        what = "has characters that are not valid in a token, such as a space or a line end"
        yield Problem("HF_TOKEN", what, "BAD_TOKEN", "set it again without spaces and line ends")
