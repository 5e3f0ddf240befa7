"""Look up the commit, digest and size that pin a model's file on a hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import environ

from .. import catalog
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.fetch.request import Network
from ..module_utils.dream_core.fetch.sources import address as addresses
from . import image_lock
from .entries import Helper, HubFile, ModelEntry, Models
from .image_lock import Answers

_HUB = "https://huggingface.co"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """A file to look up: its address, and the pinned digest (or none)."""

    address: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """Return the file name."""
        return self.address.rsplit("/", 1)[-1]


def files(words: Iterable[str], models: Models) -> list[File]:
    """Return the files for ``words``: model ids, addresses, or OWNER/REPOSITORY/FILE.

    Without words, return those of the catalogue that are not fully pinned. Raises UsageError
    UNKNOWN_MODEL.
    """
    known = (*models["models"], *models.get("helpers", ()))
    by_id: dict[str, ModelEntry | Helper] = {str(model["id"]): model for model in known}
    wanted = list(words) or [str(item["model"]) for item in models.get("known_gaps", ())]
    return [file for word in wanted for file in _files(word, by_id)]


def _files(word: str, by_id: Mapping[str, ModelEntry | Helper]) -> list[File]:
    if word in by_id:
        return [
            File(url, str(item["sha256"]))
            for item in by_id[word]["files"]
            for url in item["urls"]
            if catalog.HUB_FILE.fullmatch(url)
        ]
    if catalog.HUB_FILE.fullmatch(word):
        return [File(word)]
    parts = word.split("/", 2)
    if len(parts) == 3 and all(parts) and ":" not in word:
        return [File(f"{_HUB}/{parts[0]}/{parts[1]}/resolve/main/{parts[2]}")]
    raise UsageError(
        f"{word} is neither a model in the catalogue nor a file on a hub",
        code="UNKNOWN_MODEL",
        hint="use an id that 'dream-runner explain' lists, or OWNER/REPOSITORY/FILE",
    )


def ask(wanted: Iterable[File]) -> Answers[HubFile]:
    """Return ``{url, sha256, size_bytes}`` of each file by its address; ``url`` names a commit."""
    known = {file.address: file for file in wanted}
    return image_lock.ask_all(known, lambda address, limit: _look_up(known[address], limit))


def _look_up(file: File, limit: image_lock.Limit) -> HubFile:
    network = Network.from_environment(environ)
    place = addresses.apply_endpoint(file.address, network)
    headers = addresses.authorization(place, network, addresses.hub_origin([place], network))
    with image_lock.session() as session:
        # This response has the headers; the redirect's target has only the data.
        reply = session.head(place, headers=headers, timeout=limit.left(), allow_redirects=False)
        reply.raise_for_status()
    found = reply.headers
    commit = found.get("X-Repo-Commit", "")
    digest = found.get("X-Linked-Etag", found.get("ETag", "")).strip('W/"')
    size = found.get("X-Linked-Size", found.get("Content-Length", ""))
    if not (catalog.COMMIT.fullmatch(commit) and _SHA256.fullmatch(digest) and size.isdigit()):
        raise ValueError("the server does not report commit, SHA-256 and size")
    match = catalog.HUB_FILE.fullmatch(file.address)
    start, end = match.span("revision") if match else (0, 0)
    url = file.address[:start] + commit + file.address[end:]
    return {"url": url, "sha256": digest, "size_bytes": int(size)}
