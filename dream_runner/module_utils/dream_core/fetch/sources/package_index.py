"""Find a wheel in a Python package index: the simple API as JSON (PEP 691) or HTML (PEP 503).

The answer of an index is limited in size and time, its addresses may only use http and https, and
files from there are verified by their digest.
"""

from __future__ import annotations

import html
import json
import os
import re
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit, urlunsplit

from ...errors import DreamError, UsageError
from ...network import pip_config
from ...network.pip_config import PipConfig
from ..faults import SourceFault, backoff
from ..request import Network, Patience
from . import address as addresses
from . import page as pages

_ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1"
)
_JSON = ("application/vnd.pypi.simple.v1+json", "application/json")
_HTML = ("application/vnd.pypi.simple.v1+html", "text/html", "application/xhtml+xml")
#: Maximum page size; the page of a project with ten thousand files is smaller.
_LIMIT_BYTES = 16 * 1024 * 1024
_PAGE_SECONDS = 120.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Each tag is matched separately, so that no page can make the search slow.
_HREF = re.compile(r"""(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.I)


@dataclass(frozen=True)
class File:
    """A file in an index; an empty digest or a size of 0 means unknown.

    ``origin`` is the page that lists it. ``path`` is set for a file on this machine.
    """

    name: str
    url: str
    sha256: str
    size_bytes: int
    origin: str
    path: str = ""


def normalized(project: str) -> str:
    """Return a project's name in its normalized form."""
    return re.sub(r"[-_.]+", "-", project).lower()


def is_wheel_of(name: str, project: str, version: str) -> bool:
    """Return whether a file name belongs to a wheel of this release."""
    parts = name[: -len(".whl")].split("-") if name.endswith(".whl") else []
    if len(parts) not in (5, 6):
        return False
    return normalized(parts[0]) == normalized(project) and _version(parts[1]) == _version(version)


def _version(text: str) -> Tuple[str, ...]:
    """Return a comparable form of a version: ``1.0`` is ``1``, ``1.0_post1`` is ``1.0.post1``."""
    release, _, rest = re.sub(r"[-_]+", ".", text.lower()).partition("+")
    parts = re.findall(r"\d+|[a-z]+", release)
    while parts and parts[-1] == "0":
        parts.pop()
    return (*(part.lstrip("0") or "0" for part in parts), rest)


class Index:
    """The places that pip is configured to search."""

    def __init__(self, network: Network, patience: Patience) -> None:
        self._config = pip_config.read(network.pip)
        self.network = with_pip(network, self._config)
        self._patience = patience
        #: Why a place could not be used, by its address.
        self.faults: List[Tuple[str, SourceFault]] = []

    def find(self, project: str, version: str) -> List[File]:
        """Find the wheels of a release, in the order of pip's places.

        The failure of a place is recorded in ``faults``. Raises UsageError.
        """
        self.faults = []
        found: List[File] = []
        for place in self._config.find_links:
            found += self._ask(place, _as_url(place))
        for base in self._config.index_urls:
            found += self._ask(base, _project_page(base, project))
        return [item for item in found if is_wheel_of(item.name, project, version)]

    def find_patiently(self, project: str, version: str, on_wait: Callable[[], None]) -> List[File]:
        """Return the wheels of a release; ask again after passing faults, as patience allows.

        ``on_wait`` is called before each pause. Raises SourceFault if no place has the release,
        UsageError.
        """
        failures, patience = 0, self._patience
        while True:
            files = self.find(project, version)
            if files:
                return files
            fault = decisive(self.faults)
            failures += 1
            if fault.permanent or failures >= patience.attempts:
                raise fault
            on_wait()
            pause = backoff(failures, patience.backoff_seconds, patience.backoff_cap_seconds)
            time.sleep(min(fault.retry_after or pause, patience.retry_after_cap_seconds))

    def _ask(self, place: str, url: str) -> List[File]:
        label = addresses.shown(url)
        try:
            if url.startswith("file:"):
                return list(_local(url))
            self._require_trust(url)
            page = pages.read(
                url, self.network, self._patience, _ACCEPT, _LIMIT_BYTES, _PAGE_SECONDS
            )
            return list(_remote(page.url, _media_type(page.kind), page.content, place))
        except SourceFault as fault:
            if fault.code == "BAD_ANSWER":
                fault.code = "BAD_INDEX_PAGE"
            self.faults.append((label, fault))
        except UsageError as error:
            if error.code != "BAD_URL":
                raise
            self.faults.append((label, SourceFault("BAD_URL", error.what, permanent=True)))
        return []

    def _require_trust(self, url: str) -> None:
        """Reject plain http as pip does, unless the host is trusted or is this machine."""
        address = addresses.parse(url)
        if address.scheme == "https" or addresses.is_loopback(address.host):
            return
        if not self.network.trusts(address.host, address.port):
            what = "it uses plain http, and the host is not in pip's trusted-host"
            raise SourceFault("INDEX_NOT_TRUSTED", what, permanent=True)


def with_pip(network: Network, config: PipConfig) -> Network:
    """Return ``network`` with proxy and certificates from pip's configuration."""
    # An index may link to any server, so no token of another service is sent.
    changes: Dict[str, Any] = {"peers": (), "peer_token": "", "token": "", "endpoint": ""}
    changes["trusted_hosts"] = config.trusted_hosts
    if config.proxy:
        changes["proxies"] = {"http": config.proxy, "https": config.proxy}
    if config.cert:
        changes["ca_file"] = config.cert
    if config.client_cert:
        changes["client_cert"] = config.client_cert
    return replace(network, **changes)


def _project_page(base: str, project: str) -> str:
    return _as_url(base).rstrip("/") + "/" + quote(normalized(project)) + "/"


def _as_url(place: str) -> str:
    """Return an address unchanged, and a local path as a file URL."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", place):
        return place
    return "file://" + quote(os.path.abspath(os.path.expanduser(place)))


# --- a directory of this machine


def _local(url: str) -> Iterator[File]:
    """Yield the files in a local directory, or those that a local page lists."""
    path = unquote(urlsplit(url).path)
    page = os.path.join(path, "index.html") if os.path.isdir(path) else path
    if os.path.isfile(page) and not page.endswith(".whl"):
        try:
            with open(page, "rb") as stream:
                text = stream.read(_LIMIT_BYTES).decode("utf-8", "replace")
        except OSError as error:
            raise SourceFault("SOURCE_BROKEN", error.strerror or str(error)) from error
        base = "file://" + quote(page)
        yield from (_on_disk(item) for item in _links(text, base, base))
        return
    names = sorted(os.listdir(path)) if os.path.isdir(path) else [page]
    for name in names:
        full = os.path.join(path, name)
        if name.endswith(".whl") and os.path.isfile(full):
            address = "file://" + quote(full)
            yield File(os.path.basename(name), address, "", os.path.getsize(full), url, full)


def _on_disk(item: File) -> File:
    """Return a file that a local page lists; only such a page may link to local files."""
    if not item.url.startswith("file:"):
        return item
    path = unquote(urlsplit(item.url).path)
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    return File(item.name, item.url, item.sha256, size, item.origin, path)


# --- a server


def _media_type(kind: str) -> str:
    if kind not in _JSON + _HTML:
        is_name = re.fullmatch(r"[\w.+-]{1,40}/[\w.+-]{1,60}", kind, re.ASCII)
        raise _unusable("its answer has the type %s" % (kind if is_name else "unknown"))
    return kind


def _unusable(what: str) -> SourceFault:
    return SourceFault("BAD_INDEX_PAGE", what, permanent=True)


def _remote(url: str, kind: str, body: bytes, place: str) -> Iterator[File]:
    """Yield the downloadable files of a page."""
    text = body.decode("utf-8", "replace")
    found = _entries(text, url) if kind in _JSON else _links(text, url, url)
    for item in found:
        try:
            target = addresses.parse(item.url)
        except DreamError:
            continue
        if target.scheme == addresses.UNIX:
            continue
        if urlsplit(url).scheme == "https" and target.scheme != "https":
            continue
        yield File(item.name, _with_login(item.url, place), item.sha256, item.size_bytes, url)


def _with_login(url: str, place: str) -> str:
    """Add the index's user and password to a file's address, only at the index's origin."""
    parts, known = urlsplit(url), urlsplit(place)
    netloc = parts.netloc.rpartition("@")[2]
    if known.username and addresses.parse(url).origin == addresses.parse(place).origin:
        netloc = known.netloc.rpartition("@")[0] + "@" + netloc
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def _entries(text: str, url: str) -> Iterator[File]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable("its answer is not JSON") from error
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        raise _unusable("its answer lists no files")
    for item in files:
        if isinstance(item, dict) and isinstance(item.get("url"), str):
            yield _entry(item, url)


def _entry(item: Mapping[str, Any], url: str) -> File:
    full = urldefrag(_joined(url, item["url"])).url
    hashes, size = item.get("hashes"), item.get("size")
    digest = str(hashes.get("sha256", "")).lower() if isinstance(hashes, dict) else ""
    return File(
        _file_name(full),
        full,
        digest if _DIGEST.fullmatch(digest) else "",
        size if type(size) is int and 0 < size < 1 << 50 else 0,
        url,
    )


def _links(text: str, url: str, origin: str) -> Iterator[File]:
    """Yield the link targets of a page."""
    for tag, target in _targets(text):
        if tag == "base":
            url = _joined(url, target)
            continue
        full, fragment = urldefrag(_joined(url, target))
        name, _, digest = fragment.partition("=")
        stated = digest.lower() if name == "sha256" and _DIGEST.fullmatch(digest.lower()) else ""
        yield File(_file_name(full), full, stated, 0, origin)


def _targets(text: str) -> Iterator[Tuple[str, str]]:
    for piece in text.split("<")[1:]:
        tag = piece.split(None, 1)[0].lower() if piece[:1].isalpha() else ""
        found = _HREF.search(piece) if tag in ("a", "base") else None
        if found:
            yield tag, html.unescape(next(filter(None, found.groups()), "")).strip()


def _joined(base: str, target: str) -> str:
    """Resolve ``target`` relative to ``base``; return "" if it is not an address."""
    try:
        full = urljoin(base, target)
        urlsplit(full)
        return full
    except ValueError:
        return ""


def _file_name(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def decisive(faults: Sequence[Tuple[str, SourceFault]]) -> SourceFault:
    """Return why no place has the release, with preference for a temporary fault."""
    passing = [fault for _, fault in faults if not fault.permanent]
    said = "; ".join("%s: %s" % (label, fault.what) for label, fault in faults)
    real = [fault for _, fault in faults if fault.code != "HTTP_NOT_FOUND"]
    if passing or real:
        worst = (passing or real)[-1]
        return SourceFault(
            worst.code, said, permanent=worst.permanent, retry_after=worst.retry_after
        )
    what = "no package index has this release" + (" (%s)" % said if said else "")
    return SourceFault("WHEEL_NOT_FOUND", what, permanent=True)
