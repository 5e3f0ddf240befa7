"""Resources that an install made or found on a host, and their observed state."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..document import TypedDict


class Original(TypedDict, total=False):
    """The state of a path before the install; ``sha256`` and ``backup`` only for files."""

    #: Octal, four digits.
    mode: str
    uid: int
    gid: int
    #: The digest of the content, which is kept under this name in ``originals``.
    sha256: str
    #: Whether ``<path>.bak`` existed.
    backup: bool


class Seen(TypedDict, total=False):
    """The observed state of a resource; a missing one is ``{"present": False}``."""

    present: bool
    #: The engine refuses this user, so the state is unknown.
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
    #: The digest of the content, or why it cannot be read.
    sha256: str
    #: Trees: a digest over names, modes, sizes and times.
    listing: str
    #: Units and programs: the state in the terms of systemd or supervisord.
    active: str
    enabled: str
    #: Kernel settings.
    value: Optional[str]
    #: Containers: their number, compose's digest, and the properties without a digest.
    copies: int
    hash: str
    image: str
    policy: str
    networks: List[str]


class _Resource(TypedDict):
    #: One of the kinds in ``resources/``; it decides which other keys exist.
    kind: str


class Resource(_Resource, total=False):
    """An object that an install made or found on a host."""

    #: made or found; decided before the phase first changes it, and never changed afterwards.
    origin: str
    #: file, directory, tree, data, model, background, options.
    path: str
    #: file, directory: octal, four digits.
    mode: str
    #: model, and a file if it is known beforehand.
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
    #: options: ours, in a JSON file that belongs to others.
    set: Dict[str, Any]
    #: container: the compose project and its service.
    project: str
    service: str
    #: image: by digest or id; ``also`` is its other name.
    reference: str
    also: Optional[str]
    owner: Optional[str]
    #: Our unit creates and removes it later; its absence is not drift.
    coming: bool
    #: Its content changes during normal operation.
    volatile: bool
    secret: bool
    shared: bool
    #: unit: it also counts as active between two starts.
    retries: bool
    seen: Seen
    original: Optional[Original]
