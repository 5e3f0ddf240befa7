"""The request and the result of a fetch: plain, immutable values."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple

from ..errors import UsageError
from ..network import network_env

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Network:
    """The network settings. They are never shown, logged or journalled.

    ``proxies`` maps ``http`` and ``https`` to proxy URLs. ``netrc`` is the path of a netrc file.
    ``ca_file`` and ``ca`` (files or directories) are trusted besides the system's authorities.
    ``token`` is sent as a bearer token only to the origin of hub URLs
    (``/<owner>/<repository>/resolve/<revision>/...``); ``endpoint`` replaces the origin of such
    URLs. ``peers`` are origins that serve blobs to this run: they are reached without a proxy, and
    only they receive ``peer_token``. ``pip`` are the variables that select the package index
    (``pip_config``); ``trusted_hosts`` are pip's trusted hosts, whose certificates are not checked.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: str = ""
    ca_file: str = ""
    ca: Tuple[str, ...] = ()
    netrc: str = ""
    token: str = field(default="", repr=False)
    endpoint: str = ""
    peers: Tuple[str, ...] = ()
    peer_token: str = field(default="", repr=False)
    pip: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_cert: str = ""
    trusted_hosts: Tuple[str, ...] = ()

    def trusts(self, host: str, port: int) -> bool:
        """Return whether pip's configuration trusts a host without checking its certificate."""
        return host in self.trusted_hosts or "%s:%d" % (host, port) in self.trusted_hosts

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        ca_file: str = "",
        netrc: str = "",
        token: str = "",
    ) -> "Network":
        """Return the network settings from the usual variables (``network_env``).

        Arguments take precedence over the variables.
        """
        known = network_env.read(environment)
        return cls(
            proxies=known.proxies,
            no_proxy=known.no_proxy,
            ca_file=ca_file or next(iter(known.ca), ""),
            ca=known.ca,
            netrc=netrc or known.netrc,
            token=token or known.token,
            endpoint=known.endpoint,
            pip=known.pip,
        )


@dataclass(frozen=True)
class Patience:
    """The timeouts and retries of a fetch. There is no total timeout.

    ``attempts`` is the number of consecutive failures of one source without new bytes. Less than
    ``floor_bytes_per_second`` over ``stall_seconds`` is a stall: the connection is replaced.
    """

    connect_seconds: float = 20.0
    stall_seconds: float = 30.0
    attempts: int = 10
    backoff_seconds: float = 0.5
    backoff_cap_seconds: float = 30.0
    retry_after_cap_seconds: float = 300.0
    floor_bytes_per_second: int = 512


@dataclass(frozen=True)
class FetchRequest:
    """One file, identified by its digest, and its possible sources.

    ``sources`` are tried in order: http, https and file URLs, absolute paths, bundle directories,
    and members of wheels (``wheel_address``). ``{sha256}`` in a source is replaced with the digest
    (for peers that serve blobs). ``size_bytes`` 0 means unknown, ``connections`` 0 adaptive. With
    an empty ``stamps_dir`` the stamp is beside the file; ``uid`` and ``gid`` -1 keep the owner and
    the group.
    """

    path: str
    sha256: str
    sources: Tuple[str, ...] = ()
    size_bytes: int = 0
    mode: int = 0o644
    uid: int = -1
    gid: int = -1
    connections: int = 0
    verify: bool = False
    stamps_dir: str = ""
    reserve_bytes: int = 0
    network: Network = field(default_factory=Network)
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        digest = self.sha256.strip().lower()
        if not _DIGEST.fullmatch(digest):
            raise UsageError(
                "the sha256 of %s is not 64 hexadecimal digits" % self.path,
                code="BAD_DIGEST",
                hint="copy the digest from the publisher's page or from sha256sum",
            )
        if not self.path.startswith("/"):
            raise UsageError("%s is not an absolute path" % self.path, code="BAD_PATH")
        if not _is_path(self.path):
            raise UsageError("the path %r is invalid" % self.path, code="BAD_PATH")
        if self.size_bytes < 0 or self.connections < 0:
            raise UsageError("size and connections cannot be negative", code="BAD_NUMBER")
        object.__setattr__(self, "sha256", digest)
        object.__setattr__(self, "sources", tuple(self.sources))


def _is_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True)
class Progress:
    """Bytes on disk, total bytes (0: unknown), current bytes per second, and a note."""

    done: int
    total: int
    rate: float
    note: str = ""


@dataclass(frozen=True)
class FetchResult:
    """The result of a fetch. ``verified_by`` is ``hash`` or ``stamp``."""

    path: str
    sha256: str
    size_bytes: int
    changed: bool
    bytes_fetched: int = 0
    bytes_reused: int = 0
    source: str = ""
    seconds: float = 0.0
    rate: float = 0.0
    verified_by: str = "hash"
    connections: int = 0
    notes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Presence:
    """Whether the right file is present, and how it was verified."""

    present: bool
    verified_by: str = ""
    why: str = ""
    size_bytes: Optional[int] = None
