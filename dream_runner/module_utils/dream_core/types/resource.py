"""Resources: what an install made or found on a host, and what is seen of them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..document import TypedDict


class Original(TypedDict, total=False):
    """What a file or directory was before us; ``sha256`` and ``backup`` of a file only."""

    #: Octal, four digits.
    mode: str
    uid: int
    gid: int
    #: Of the content, kept under this name in ``originals`` of the state directory.
    sha256: str
    #: Something was at ``<path>.bak``.
    backup: bool


class Seen(TypedDict, total=False):
    """What was observed of a resource; an absent one is ``{"present": False}``."""

    present: bool
    #: The engine refuses this user: nothing can be told.
    unknown: bool
    #: file, directory, link, socket or other.
    type: str
    #: Octal, four digits.
    mode: str
    #: ``uid:gid``
    owner: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    #: Of the content, or why it cannot be read.
    sha256: str
    #: Of a tree: a digest over names, modes, sizes and times.
    listing: str
    #: Of a unit or program, in the words of systemd or supervisord.
    active: str
    enabled: str
    #: Of a kernel setting.
    value: Optional[str]
    #: Of a container: how many there are, compose's digest, and what no digest tells.
    copies: int
    hash: str
    image: str
    policy: str
    networks: List[str]


class _Resource(TypedDict):
    #: One of those in ``resources/``; it tells which of the other keys are there.
    kind: str


class Resource(_Resource, total=False):
    """Something that an install made or found on a host."""

    #: made or found; decided before the phase first touches it, and never changed afterwards.
    origin: str
    #: file, directory, tree, data, model, background, options.
    path: str
    #: file, directory: octal, four digits.
    mode: str
    #: model; a file's where it is known beforehand.
    sha256: str
    size_bytes: Optional[int]
    #: unit, package, sysctl, network, volume, background.
    name: str
    #: unit: system or user.
    scope: str
    #: supervisor: its configuration file.
    config: str
    #: supervisor: a name. background: a path.
    program: str
    port: int
    address: str
    #: linger, group.
    user: str
    group: str
    #: options: those of ours in a JSON file of somebody else.
    set: Dict[str, Any]
    #: container: the compose project and its service.
    project: str
    service: str
    #: image: by digest or id; ``also`` is its other name.
    reference: str
    also: Optional[str]
    owner: Optional[str]
    #: A unit of ours makes and removes it in its own time; it is no drift.
    coming: bool
    #: Its content changes while it works.
    volatile: bool
    secret: bool
    shared: bool
    #: unit: it counts as active between two starts.
    retries: bool
    seen: Seen
    original: Optional[Original]
