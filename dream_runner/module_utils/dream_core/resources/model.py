"""A model file, which is read only if its stamp is not valid."""

from __future__ import annotations

from ..fetch.disk.stamp import ITS_DIGEST, is_present
from ..types.resource import Resource, Seen
from .file import observe_file, remove_file
from .kind import GLANCE, READ, Kind
from .observed_host import Host


def observe_model(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a model; read it only if its stamp does not fit the file."""
    seen = observe_file(resource, host, GLANCE)
    if seen["present"] and depth > GLANCE:
        found = is_present(resource["path"], resource["sha256"], verify=depth == READ, write=False)
        seen["sha256"] = resource["sha256"] if found.present else _digest_of(found.why)
    return seen


def _digest_of(why: str) -> str:
    """Return the digest of the file, or why there is none."""
    return why[len(ITS_DIGEST) :] if why.startswith(ITS_DIGEST) else why


KINDS = {
    "model": Kind(observe_model, remove_file, is_precious=True),
}
