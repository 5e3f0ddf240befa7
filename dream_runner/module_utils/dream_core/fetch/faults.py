"""Failures of a source, and their meaning for the fetch.

A temporary ``SourceFault`` uses up one attempt of its source, a permanent one removes the source;
it becomes a ``DreamError`` only if no source is left.
"""

from __future__ import annotations

import errno
import os
import random
import re
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import DiskError, DreamError, IntegrityError, NetworkError

_HINTS = {
    "HTTP_DENIED": "the file requires a login: set a token (HF_TOKEN) or a netrc entry",
    "HTTP_NOT_FOUND": "the file has moved: update the catalogue, or use another source",
    "TLS_CERTIFICATE": "check the clock; behind a TLS-inspecting proxy, set SSL_CERT_FILE or "
    "REQUESTS_CA_BUNDLE to its CA file",
    "NAME_UNRESOLVED": "check the network and the DNS server",
    "SOURCE_MISSING": "check the path of the file or bundle",
    "ENCODED_BODY": "the server compresses the file although dream-runner asked it not to; use "
    "another source",
    "WHEEL_NOT_FOUND": "check the name and version, and pip's package index",
    "WHEEL_NO_DIGEST": "add &sha256=HEX (the wheel's own digest) to the source",
    "BAD_INDEX_PAGE": "check the index address in pip's configuration (pip config debug)",
    "INDEX_NOT_TRUSTED": "use https, or add the host to pip's trusted-host",
    "REDIRECT_REFUSED": "check the address, or use another source",
    "NOT_THE_FILE": "open the address in a browser to check it, or use another source",
    "NETWORK_LOGIN": "open any page in a browser on this network and log in, then run again",
    "PROXY_REFUSED": "check the proxy's address, user and password in HTTPS_PROXY or HTTP_PROXY",
    "CONNECTION_CORRUPTS": "check cable, memory, proxy and virus scanner, or use another "
    "network; the next run fetches the damaged pieces again",
    "CONNECTION_BLOCKED": "a firewall on this machine blocks the connection; allow it",
    "BAD_ANSWER": "use another source, or ask the operator of the server or proxy",
}
_STALE = "the source has another file than the pinned one: check --sha256, or update the catalogue"
_STALE_HINTS = {
    "WHEEL_MEMBER_MISSING": "check the path after '#'; 'unzip -l' lists the files in a wheel",
    "WHEEL_BROKEN": "the package index has a damaged package; use another mirror",
}
_KEPT = "the downloaded part is kept; run again to continue"


class Meaning(NamedTuple):
    """The code of a failure, and whether it passes: whether another attempt may succeed."""

    code: str
    passes: bool


#: The meaning of HTTP statuses. Unlisted ones are temporary from 500 on, and permanent below.
_STATUS: Dict[int, Meaning] = {
    202: Meaning("SERVER_BUSY", True),
    401: Meaning("HTTP_DENIED", False),
    403: Meaning("HTTP_DENIED", False),
    404: Meaning("HTTP_NOT_FOUND", False),
    407: Meaning("PROXY_REFUSED", False),
    408: Meaning("SERVER_BUSY", True),
    410: Meaning("HTTP_NOT_FOUND", False),
    421: Meaning("SERVER_ERROR", True),
    423: Meaning("SERVER_BUSY", True),
    425: Meaning("SERVER_BUSY", True),
    429: Meaning("SERVER_BUSY", True),
    501: Meaning("HTTP_REFUSED", False),
    503: Meaning("SERVER_BUSY", True),
    505: Meaning("HTTP_REFUSED", False),
    506: Meaning("HTTP_REFUSED", False),
    508: Meaning("HTTP_REFUSED", False),
    509: Meaning("SERVER_BUSY", True),
    510: Meaning("HTTP_REFUSED", False),
    511: Meaning("NETWORK_LOGIN", False),
    529: Meaning("SERVER_BUSY", True),
}

#: The same for an error of the socket.
_ERRNO: Dict[int, Meaning] = {
    errno.ECONNREFUSED: Meaning("CONNECTION_REFUSED", True),
    errno.ENOENT: Meaning("CONNECTION_REFUSED", True),
    errno.ETIMEDOUT: Meaning("STALLED", True),
    errno.EACCES: Meaning("CONNECTION_BLOCKED", False),
    errno.EPERM: Meaning("CONNECTION_BLOCKED", False),
    errno.EAFNOSUPPORT: Meaning("CONNECTION_BLOCKED", False),
    errno.ENETUNREACH: Meaning("NETWORK_UNREACHABLE", True),
    errno.EHOSTUNREACH: Meaning("NETWORK_UNREACHABLE", True),
    errno.ENETDOWN: Meaning("NETWORK_UNREACHABLE", True),
}
#: OpenSSL's messages about a server without TLS or with an unsuitable one, which are permanent.
_TLS_FOR_GOOD = re.compile(
    r"WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS|HTTP_REQUEST|HANDSHAKE_FAILURE"
    r"|PROTOCOL_VERSION|NO_CIPHER|RECORD_LAYER_FAILURE|DH_KEY_TOO_SMALL"
)


class SourceFault(Exception):
    """A failure of one source; if it is ``permanent``, another attempt is useless.

    ``seldom`` marks failures that are rarely temporary: a few attempts are enough. ``stale`` marks
    a source that states another size or digest than requested. ``retry_after`` is the server's
    request, in seconds.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        permanent: bool = False,
        stale: bool = False,
        seldom: bool = False,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.permanent = permanent or stale
        self.stale = stale
        self.seldom = seldom or code == "BAD_ANSWER"
        self.retry_after = retry_after


def from_status(status: int, retry_after: Optional[str]) -> SourceFault:
    """Return the fault for an unsuccessful HTTP status.

    The server's reason phrase is not shown: it may contain anything.
    """
    code, passing = _STATUS.get(
        status, Meaning("SERVER_ERROR", True) if status >= 500 else Meaning("HTTP_REFUSED", False)
    )
    try:
        what = "HTTP %d %s" % (status, HTTPStatus(status).phrase)
    except ValueError:
        what = "HTTP %d" % status
    if not passing:
        return SourceFault(code, what, permanent=True)
    return SourceFault(code, what, retry_after=parse_retry_after(retry_after))


def from_exception(error: BaseException) -> SourceFault:
    """Return the fault for an exception during a request to a source.

    Its message is not shown: it may quote a token, or what the server sent. DreamErrors, and
    exceptions that end the program, are raised again.
    """
    if isinstance(error, SourceFault):
        return error
    if isinstance(error, (DreamError, MemoryError)) or not isinstance(error, Exception):
        raise error
    if isinstance(error, ssl.SSLError):
        return _from_tls(error)
    if isinstance(error, socket.gaierror):
        what = "name not resolved: %s" % _name_error(error.errno or 0)
        return SourceFault("NAME_UNRESOLVED", what, seldom=error.errno == socket.EAI_NONAME)
    if isinstance(error, (socket.timeout, TimeoutError)):
        return SourceFault("STALLED", "no data before the stall timeout")
    if isinstance(error, OSError):
        code, passing = _ERRNO.get(error.errno or 0, Meaning("CONNECTION_LOST", True))
        what = os.strerror(error.errno) if error.errno else "the connection was lost"
        return SourceFault(code, what[:1].lower() + what[1:], permanent=not passing)
    return SourceFault("BAD_ANSWER", "the answer could not be read (%s)" % type(error).__name__)


def _from_tls(error: ssl.SSLError) -> SourceFault:
    if isinstance(error, ssl.SSLCertVerificationError):
        # One of OpenSSL's own messages; the only name in it is the requested one.
        reason = getattr(error, "verify_message", "") or "it could not be verified"
        return SourceFault("TLS_CERTIFICATE", "certificate: %s" % reason, permanent=True)
    reason = str(error.reason or "")
    reason = reason if re.fullmatch(r"[A-Z0-9_]+", reason) else "the connection was lost"
    permanent = bool(_TLS_FOR_GOOD.search(reason))
    return SourceFault("TLS_FAILED", "TLS: %s" % reason, permanent=permanent)


def _name_error(number: int) -> str:
    if number == socket.EAI_NONAME:
        return "no such name"
    return "the DNS server does not answer" if number == socket.EAI_AGAIN else "error %d" % number


def parse_retry_after(value: Optional[str], now: Optional[float] = None) -> Optional[float]:
    """Parse ``Retry-After`` in either of its forms; return seconds."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError, ArithmeticError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def backoff(failures: int, base: float, cap: float) -> float:
    """Return the pause in seconds before attempt ``failures`` + 1, with jitter."""
    pause = min(cap, base * (2.0 ** min(failures - 1, 20)))
    return pause * random.uniform(0.5, 1.0)


def verdict(path: str, faults: Sequence[Tuple[str, SourceFault]]) -> DreamError:
    """Return the error that reports why no source could deliver ``path``.

    A temporary fault takes precedence over a permanent one, because running again may help.
    """
    lines: List[str] = ["%s: %s" % (label, fault.what) for label, fault in faults]
    passing = [fault for _, fault in faults if not fault.permanent]
    stale = [fault for _, fault in faults if fault.stale]
    decisive = (passing or stale or [fault for _, fault in faults])[-1]
    what = "%s could not be fetched (%s)" % (path, "; ".join(lines))
    if decisive.code == "DISK_FULL":
        return DiskError(
            what, code="DISK_FULL", where=path, hint="free some space, or specify the size"
        )
    if decisive.stale:
        hint = _STALE_HINTS.get(decisive.code, _STALE)
        return IntegrityError(what, code=decisive.code, where=path, hint=hint)
    hint = _HINTS.get(decisive.code, _KEPT)
    return NetworkError(what, code=decisive.code, where=path, hint=hint)
