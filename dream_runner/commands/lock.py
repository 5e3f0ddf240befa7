"""``dream-runner lock``: ask what the image of every tag is, and keep the answers.

An update is this command and never a side effect of an install (K8): the lock says
for each tag of the catalogue which digest it stands for and which platforms it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import catalog, output_file
from ..bundle.images import archives
from ..module_utils.dream_core import atomic, network_env
from ..module_utils.dream_core.errors import DreamError, NetworkError, UsageError
from ..module_utils.dream_core.fetch.faults import SourceFault
from ..module_utils.dream_core.fetch.local import Joined

if TYPE_CHECKING:
    import requests

Entry = dict[str, Any]

_TIMEOUT_SECONDS = 30.0
_PARALLEL = 8
#: What Docker means by a name without a host.
_HUB = "registry-1.docker.io"
_KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Place:
    """Where an image is: ``host``, ``name`` there, and ``reference`` (a tag or a digest)."""

    host: str
    name: str
    reference: str

    @property
    def address(self) -> str:
        """Return the address of the registry; only this machine is asked without TLS."""
        local = self.host.split(":")[0] in ("127.0.0.1", "localhost")
        return f"{'http' if local else 'https'}://{self.host}/v2/{self.name}"


@dataclass(frozen=True)
class Locked:
    """What was found: entries by tag, what changed against before, and what nobody knows."""

    path: Path
    images: Mapping[str, Entry]
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())


def run(bundle: str = "", output: str = "") -> Locked:
    """Lock every image of the catalogue, or those that a bundle holds; write the file.

    Raises NetworkError LOCK_FAILED with every image whose registry did not
    answer; nothing is written then.
    """
    if not bundle:
        network_env.require(os.environ)
    wanted = tags(catalog.load().services)
    path = Path(output).expanduser() if output else catalog.lock_path()
    if output:
        path = Path(output_file.require(output))
    before = catalog.read_lock(path) if path.is_file() else {}
    found = of_bundle(Path(bundle).expanduser(), wanted) if bundle else of_registries(wanted)
    images = {**before, **found}
    changed = tuple(tag for tag in sorted(images) if images[tag] != before.get(tag))
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = {"schema": catalog.LOCK_SCHEMA, "images": dict(sorted(images.items()))}
        text = json.dumps(document, indent=1) + "\n"
        atomic.write_bytes(str(path), text.encode(), 0o644)
    missing = tuple(tag for tag in wanted if tag not in images and "@" not in tag)
    return Locked(path, images, changed, missing)


def tags(services: Mapping[str, Any]) -> list[str]:
    """Return every image that the catalogue names, those of all variants too."""
    return catalog.image_tags(services)


# --- registries -----------------------------------------------------------------------


def place(tag: str) -> Place:
    """Return where ``tag`` is to be asked for."""
    name, _, digest = tag.partition("@")
    head, colon, last = name.rpartition(":")
    if colon and "/" not in last:
        name, reference = head, last
    else:
        reference = "latest"
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = _HUB, name if slash else f"library/{name}"
    if host in ("docker.io", "index.docker.io"):
        host = _HUB
    return Place(host, rest, digest or reference)


def of_registries(wanted: Iterable[str]) -> dict[str, Entry]:
    """Return the entry of every tag, from its registry."""

    def ask(tag: str) -> tuple[str, Entry | str]:
        try:
            return tag, _ask(place(tag))
        except DreamError as error:
            return tag, error.what

    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        answers = dict(pool.map(ask, wanted))
    failed = [f"- {tag}: {why}" for tag, why in answers.items() if isinstance(why, str)]
    if failed:
        raise NetworkError(
            "these images could not be looked up, so nothing was written:\n" + "\n".join(failed),
            code="LOCK_FAILED",
            hint="check the connection or the proxy; without a network: --bundle DIR",
        )
    return {tag: entry for tag, entry in answers.items() if isinstance(entry, dict)}


def _session() -> requests.Session:
    # 0.1 s to import, and only this command needs it.
    import requests

    session = requests.Session()
    # It knows the proxies' variables, and two of those that name authorities.
    known = network_env.of_programs(os.environ)
    session.verify = known.get("REQUESTS_CA_BUNDLE") or known.get("SSL_CERT_DIR") or True
    return session


def _ask(where: Place) -> Entry:
    import requests

    session = _session()
    try:
        content = _get(session, where, f"manifests/{where.reference}", ", ".join(_KINDS))
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if where.reference.startswith("sha256:") and digest != where.reference:
            raise _unclear("the registry answers with another manifest")
        manifest = json.loads(content)
        return {"digest": digest, "platforms": _platforms(session, where, manifest)}
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise _unclear(" ".join(str(error).split())[:200] or type(error).__name__) from error
    finally:
        session.close()


def _unclear(why: str) -> NetworkError:
    return NetworkError(why, code="LOCK_FAILED")


def _platforms(session: requests.Session, where: Place, manifest: Any) -> list[str]:
    """Return ``os/architecture`` of everything the manifest leads to."""
    if "manifests" in manifest:
        found = [item.get("platform") or {} for item in manifest["manifests"]]
    else:
        config = manifest["config"]["digest"]
        found = [json.loads(_get(session, where, f"blobs/{config}", "*/*"))]
    names = {f"{item.get('os')}/{item.get('architecture')}" for item in found}
    # What attests how an image was built calls itself unknown/unknown.
    return sorted(name for name in names if name.startswith("linux/"))


def _get(session: requests.Session, where: Place, path: str, accept: str) -> bytes:
    address, headers = f"{where.address}/{path}", {"Accept": accept}
    reply = session.get(address, headers=headers, timeout=_TIMEOUT_SECONDS)
    if reply.status_code == 401:
        headers["Authorization"] = f"Bearer {_token(session, reply)}"
        reply = session.get(address, headers=headers, timeout=_TIMEOUT_SECONDS)
    reply.raise_for_status()
    return bytes(reply.content)


def _token(session: requests.Session, reply: requests.Response) -> str:
    """Return the pass that a registry gives to everybody who asks for it."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', reply.headers.get("WWW-Authenticate", "")))
    realm = asked.pop("realm", "")
    if not realm:
        raise _unclear("the registry wants a login")
    answer = session.get(realm, params=asked, timeout=_TIMEOUT_SECONDS)
    answer.raise_for_status()
    content = answer.json()
    return str(content.get("token") or content["access_token"])


# --- bundles ----------------------------------------------------------------------------


def of_bundle(bundle: Path, wanted: Iterable[str]) -> dict[str, Entry]:
    """Return the entries of the images in ``bundle/images``; each is known by its id.

    Raises UsageError BUNDLE_IMAGES when there is none that the catalogue names.
    """
    known = {_full(tag): tag for tag in wanted}
    found: dict[str, Entry] = {}
    for archive in archives(bundle / "images"):
        for names, entry in _archived(archive, f"images/{archive.name}"):
            found |= {known[_full(name)]: entry for name in names if _full(name) in known}
    if not found:
        raise UsageError(
            f"{bundle / 'images'} holds no image of the catalogue",
            code="BUNDLE_IMAGES",
            where=str(bundle),
            hint="save them there with: docker save --output images/NAME.tar NAME:TAG",
        )
    return found


def _full(tag: str) -> tuple[str, str, str]:
    where = place(tag)
    return where.host, where.name, where.reference


def _archived(archive: Path, name: str) -> list[tuple[list[str], Entry]]:
    """Return ``(tags, entry)`` of every image in an archive of ``docker save``."""
    try:
        with Joined(str(archive)) as stream, tarfile.open(fileobj=stream) as tar:
            images = json.loads(_member(tar, "manifest.json"))
            return [(_names(tar, item), _entry(tar, item, name)) for item in images]
    except (OSError, SourceFault, tarfile.TarError, LookupError, ValueError, TypeError) as error:
        raise UsageError(
            f"{archive} is no archive of images: {error}",
            code="BUNDLE_IMAGES",
            where=str(archive),
            hint="write it with docker save, or with podman save --format docker-archive",
        ) from error


def _names(tar: tarfile.TarFile, image: Mapping[str, Any]) -> list[str]:
    """Return what an image is called; an archive of one image may say it in the layout's words."""
    names = list(image["RepoTags"] or [])
    if _has(tar, "index.json"):
        tops = json.loads(_member(tar, "index.json"))["manifests"]
        if len(tops) == 1:
            said = tops[0].get("annotations", {}).get("org.opencontainers.image.ref.name", "")
            # docker itself writes the bare tag there.
            names += [said] if "/" in said else []
    return names


def _has(tar: tarfile.TarFile, name: str) -> bool:
    present = tar.getnames()
    return name in present or f"./{name}" in present


def _entry(tar: tarfile.TarFile, image: Mapping[str, Any], name: str) -> Entry:
    content = _member(tar, image["Config"])
    config = json.loads(content)
    entry = {
        "id": "sha256:" + hashlib.sha256(content).hexdigest(),
        "archive": name,
        "platforms": [f"{config['os']}/{config['architecture']}"],
    }
    if _has(tar, "index.json"):
        # An engine with containerd's store calls the image by its manifest.
        manifests = json.loads(_member(tar, "index.json"))["manifests"]
        for item in manifests:
            digest = str(item["digest"])
            blob = json.loads(_member(tar, "blobs/sha256/" + digest.removeprefix("sha256:")))
            if blob.get("config", {}).get("digest") == entry["id"]:
                entry["manifest"] = digest
    return entry


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    present = tar.getnames()
    stream = tar.extractfile(name if name in present else f"./{name}")
    if stream is None:
        raise KeyError(f"{name} is no file")
    return stream.read()


# --- what is shown ------------------------------------------------------------------------


def as_json(locked: Locked) -> dict[str, Any]:
    """Return the result as the data that ``--json`` prints."""
    return {
        "path": str(locked.path),
        "images": dict(locked.images),
        "changed": list(locked.changed),
        "missing": list(locked.missing),
        "exit_code": 0,
    }


def as_text(locked: Locked) -> str:
    """Return what changed, a line an image."""
    lines = [
        f"{tag}: {entry.get('digest') or entry['id']}"
        for tag in locked.changed
        for entry in [locked.images[tag]]
    ]
    lines.append(f"{len(locked.changed)} of {len(locked.images)} images changed in {locked.path}")
    if locked.missing:
        lines.append("not locked: " + ", ".join(locked.missing))
    return "\n".join(lines)
