"""Look up the digests of images in their registries, and save them in a lock file.

The lock has a digest for each tag in the catalogue. A machine's own lock takes precedence over
the shipped one.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import catalog
from ..module_utils.dream_core.containers.references import name_of, version_of
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.system import atomic
from ..module_utils.dream_core.types.compose import LockedImage
from .entries import Services

if TYPE_CHECKING:
    import requests

#: Time limit of one request, and number of requests in parallel.
_TIMEOUT_SECONDS = 30.0
_PARALLEL = 8
#: Docker's registry for names without a host.
HUB = "registry-1.docker.io"
_KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Place:
    """The location of an image: ``host``, ``name``, and ``reference`` (a tag or a digest)."""

    host: str
    name: str
    reference: str

    @property
    def address(self) -> str:
        """Return the URL of the registry; TLS is required except on this machine."""
        local = self.host.split(":")[0] in ("127.0.0.1", "localhost")
        return f"{'http' if local else 'https'}://{self.host}/v2/{self.name}"


@dataclass(frozen=True)
class Failure:
    """Why a lookup failed. ``is_dead``: no server was reached; ``is_gone``: no such image."""

    what: str
    is_dead: bool = False
    is_gone: bool = False


Pin = TypeVar("Pin")


@dataclass(frozen=True)
class Answers(Generic[Pin]):
    """The answers of the registries, by tag."""

    found: Mapping[str, Pin] = field(default_factory=dict)
    failed: Mapping[str, Failure] = field(default_factory=dict)

    @property
    def is_network_dead(self) -> bool:
        """Tell whether no registry could be reached at all."""
        failures = self.failed.values()
        return bool(failures) and not self.found and all(item.is_dead for item in failures)

    def reasons(self) -> list[str]:
        """Return a line for each failure; one line for all if the network is dead."""
        if self.is_network_dead:
            whats = sorted({item.what for item in self.failed.values()})
            return [f"no server can be reached: {'; '.join(whats)}"]
        return [f"{tag}: {item.what}" for tag, item in sorted(self.failed.items())]


def place(tag: str) -> Place:
    """Return the location of ``tag`` in its own registry."""
    name, digest = name_of(tag), tag.partition("@")[2]
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = HUB, name if slash else f"library/{name}"
    if host in ("docker.io", "index.docker.io"):
        host = HUB
    return Place(host, rest, digest or version_of(tag) or "latest")


def place_of(tag: str, pin: LockedImage) -> Place:
    """Return the location of ``tag``: in the mirror of its pin, else in its own registry."""
    if not pin.get("from"):
        return place(tag)
    return replace(place(f"{pin['from']}:0"), reference=place(tag).reference)


# --- the files ------------------------------------------------------------------------


def read(path: Path) -> dict[str, LockedImage]:
    """Return the entries of a lock file; none if there is no file."""
    return catalog.read_lock(path) if path.is_file() else {}


def record(path: Path, entries: Mapping[str, LockedImage]) -> tuple[str, ...]:
    """Add ``entries`` to a lock file and return the changed tags. Without changes, write nothing.

    Raises DreamError if it cannot be written.
    """
    before = read(path)
    images = {**before, **entries}
    changed = tuple(tag for tag in sorted(images) if images[tag] != before.get(tag))
    if changed:
        document = {"schema": catalog.LOCK_SCHEMA, "images": dict(sorted(images.items()))}
        text = json.dumps(document, indent=1) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise atomic.translate(error, str(path.parent)) from error
        atomic.write_bytes(str(path), text.encode(), 0o644)
    return changed


# --- registries -----------------------------------------------------------------------


def ask(
    tags: Iterable[str],
    pins: Mapping[str, LockedImage] | None = None,
    seconds: float | None = None,
) -> Answers[LockedImage]:
    """Look up every tag in its registry, in parallel.

    ``pins`` name the mirrors of some tags. A tag without an answer after ``seconds`` has failed.
    """
    known = pins or {}
    return ask_all(tags, lambda tag, limit: _look_up(tag, known.get(tag) or {}, limit), seconds)


def check(pins: Mapping[str, LockedImage]) -> Answers[LockedImage]:
    """Check that the registries still have every digest of ``pins``; return those found."""
    digests = {tag: entry for tag, entry in pins.items() if entry.get("digest")}
    return ask_all(digests, lambda tag, limit: _confirm(tag, digests[tag], limit))


class Limit:
    """A time limit for several requests together."""

    def __init__(self, seconds: float | None) -> None:
        self._ends = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that the next request may take."""
        if self._ends is None:
            return _TIMEOUT_SECONDS
        return max(0.01, min(_TIMEOUT_SECONDS, self._ends - time.monotonic()))

    def wait(self, thread: threading.Thread) -> None:
        """Wait for a thread until the limit is reached."""
        thread.join(None if self._ends is None else max(0.0, self._ends - time.monotonic()))


def ask_all(
    tags: Iterable[str],
    question: Callable[[str, Limit], Pin],
    seconds: float | None = None,
) -> Answers[Pin]:
    """Ask ``question`` for every tag, in parallel; answers after the limit are ignored."""
    limit, turns = Limit(seconds), threading.BoundedSemaphore(_PARALLEL)
    results: dict[str, Pin | Failure] = {}

    def work(tag: str) -> None:
        with turns:
            results[tag] = _answer(lambda: question(tag, limit))

    wanted = list(dict.fromkeys(tags))
    threads = [
        threading.Thread(target=work, args=(tag,), name=f"registry {tag}", daemon=True)
        for tag in wanted
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        limit.wait(thread)
    late = Failure(f"no answer in {seconds or 0:.0f} s", is_dead=True)
    ended = {tag: results.get(tag, late) for tag in wanted}
    return Answers(
        {tag: item for tag, item in ended.items() if not isinstance(item, Failure)},
        {tag: item for tag, item in ended.items() if isinstance(item, Failure)},
    )


def _answer(question: Callable[[], Pin]) -> Pin | Failure:
    """Return the answer, or a failure for an error of ``requests``."""
    # Imported here because it takes 0.1 s and most commands do not need it.
    import requests

    try:
        return question()
    except requests.HTTPError as error:
        status = error.response.status_code
        gone = " (not found)" if status == 404 else ""
        return Failure(f"{status} from the server{gone}", is_gone=status == 404)
    except requests.Timeout:
        return Failure("no answer in time", is_dead=True)
    except requests.exceptions.SSLError:
        return Failure("the certificate is not trusted", is_dead=True)
    except requests.exceptions.ProxyError:
        return Failure("the proxy does not respond", is_dead=True)
    except requests.ConnectionError as error:
        return Failure(_no_connection(str(error)), is_dead=True)
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        return Failure(" ".join(str(error).split())[:200] or type(error).__name__)


def _no_connection(message: str) -> str:
    """Return the reason from a library's message about a failed connection."""
    host = re.search(r"host='([^']+)'", message)
    name = host[1] if host else "the server"
    if re.search(r"NameResolution|getaddrinfo|Name or service|name resolution", message):
        return f"the name {name} cannot be resolved"
    refused = "refused the connection" if "refused" in message else "cannot be reached"
    return f"{name} {refused}"


@contextlib.contextmanager
def session() -> Any:
    """Yield a session with the same proxies and certificates as every download."""
    import requests

    with requests.Session() as opened:
        # requests reads the proxy variables, but only two of the certificate variables.
        known = network_env.of_programs(environ)
        opened.verify = known.get("REQUESTS_CA_BUNDLE") or known.get("SSL_CERT_DIR") or True
        yield opened


def _look_up(tag: str, pin: LockedImage, limit: Limit) -> LockedImage:
    where = place_of(tag, pin)
    with session() as opened:
        reply = _get(opened, where, f"manifests/{where.reference}", ", ".join(_KINDS), limit)
        content = bytes(reply.content)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if where.reference.startswith("sha256:") and digest != where.reference:
            raise ValueError("the registry returned a different manifest")
        manifest = json.loads(content)
        platforms = _platforms(opened, where, manifest, limit)
    entry: LockedImage = {
        "digest": digest,
        "kind": kind_of(manifest, platforms),
        "platforms": platforms,
    }
    return {**entry, "from": pin["from"]} if pin.get("from") else entry


def kind_of(manifest: Mapping[str, Any], platforms: list[str]) -> str:
    """Return ``index`` for an image of several platforms, else its architecture."""
    if "manifests" in manifest:
        return "index"
    one = platforms[0].removeprefix("linux/") if len(platforms) == 1 else ""
    return one if one in ("amd64", "arm64") else "unknown"


def _confirm(tag: str, pin: LockedImage, limit: Limit) -> LockedImage:
    where = place_of(tag, pin)
    with session() as opened:
        _get(opened, where, f"manifests/{pin['digest']}", ", ".join(_KINDS), limit, "HEAD")
    return pin


def _platforms(
    session: requests.Session, where: Place, manifest: Mapping[str, Any], limit: Limit
) -> list[str]:
    """Return ``os/architecture`` of every image in the manifest."""
    if "manifests" in manifest:
        found = [item.get("platform") or {} for item in manifest["manifests"]]
    else:
        config = manifest["config"]["digest"]
        found = [_get(session, where, f"blobs/{config}", "*/*", limit).json()]
    names = {f"{item.get('os')}/{item.get('architecture')}" for item in found}
    # Build attestations have the platform unknown/unknown.
    return sorted(name for name in names if name.startswith("linux/"))


def _get(
    session: requests.Session,
    where: Place,
    path: str,
    accept: str,
    limit: Limit,
    method: str = "GET",
) -> requests.Response:
    address, headers = f"{where.address}/{path}", {"Accept": accept}

    def send() -> requests.Response:
        return session.request(
            method, address, headers=headers, timeout=limit.left(), allow_redirects=True
        )

    reply = send()
    if reply.status_code == 401:
        headers["Authorization"] = f"Bearer {_token(session, reply, limit)}"
        reply = send()
    reply.raise_for_status()
    return reply


def _token(session: requests.Session, reply: requests.Response, limit: Limit) -> str:
    """Return the token that a registry gives to anonymous clients."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', reply.headers.get("WWW-Authenticate", "")))
    realm = asked.pop("realm", "")
    if not realm:
        raise ValueError("the registry requires a login")
    answer = session.get(realm, params=asked, timeout=limit.left())
    answer.raise_for_status()
    content = answer.json()
    return str(content.get("token") or content["access_token"])


def of_name(word: str, services: Services) -> list[str]:
    """Return the catalogue's tags for ``word``: a tag, a repository, or the id of a service.

    Raises UsageError UNKNOWN_IMAGE, which names similar ones.
    """
    tags = catalog.image_tags(services)
    by_service = {
        item["id"]: catalog.image_tags({"services": [item]}) for item in services["services"]
    }
    found = by_service.get(word) or [tag for tag in tags if word in (tag, name_of(tag))]
    if not found:
        known = [*by_service, *tags]
        near = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
        raise UsageError(
            f"the catalogue has no image {word}",
            code="UNKNOWN_IMAGE",
            hint=f"did you mean {' or '.join(near)}?" if near else "see docs/user/services.md",
        )
    return found
