"""Convert the options of the module ``dream_model`` to a fetch request."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from typing import Any, Callable, Mapping

from .. import redact
from ..errors import UsageError
from ..files import text_file
from .request import FetchRequest, Network


def as_request(params: Mapping[str, Any]) -> FetchRequest:
    """Return the request that the module's parameters describe."""
    network = Network.from_environment(
        os.environ,
        ca_file=params["ca_file"],
        netrc=params["netrc"],
        token=params["token"] or _read_token(params["token_file"]),
    )
    peers = tuple(peer.rstrip("/") for peer in params["peers"])
    network = replace(network, peers=peers, peer_token=params["peer_token"])
    return FetchRequest(
        path=os.path.abspath(params["path"]),
        sha256=params["sha256"],
        sources=tuple(peer + "/blobs/{sha256}" for peer in peers) + tuple(params["sources"]),
        size_bytes=params["size_bytes"],
        mode=_parse_mode(params["mode"]),
        uid=_parse_id(params["owner"], "user", lambda name: pwd.getpwnam(name).pw_uid),
        gid=_parse_id(params["group"], "group", lambda name: grp.getgrnam(name).gr_gid),
        connections=params["connections"],
        verify=params["verify"],
        stamps_dir=params["stamps_dir"],
        reserve_bytes=params["reserve_bytes"],
        network=network,
    )


def _parse_mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError("the mode %s is not an octal number" % text, code="BAD_MODE")
    return mode


def _parse_id(text: str, kind: str, look_up: Callable[[str], int]) -> int:
    """Return the id of a user or group, given by name or id; -1 for an empty one."""
    if not text:
        return -1
    if text.isdigit():
        return int(text)
    try:
        return look_up(text)
    except KeyError:
        raise UsageError(
            "there is no %s %s on this machine" % (kind, text), code="BAD_OWNER"
        ) from None


def _read_token(path: str) -> str:
    """Read the token in ``path``, which only its owner may be able to read."""
    if not path:
        return ""
    try:
        token = text_file.read(path).strip()
        redact.remember([token])
        exposed = os.stat(path).st_mode & 0o077
    except (OSError, text_file.Unreadable) as error:
        reason = getattr(error, "reason", "") or getattr(error, "strerror", "")
        raise UsageError(
            "the token file %s cannot be read: %s" % (path, reason), code="BAD_TOKEN_FILE"
        ) from None
    if exposed:
        raise UsageError(
            "the token file %s is readable by other users" % path,
            code="BAD_TOKEN_FILE",
            hint="chmod 600 %s" % path,
        )
    return token
