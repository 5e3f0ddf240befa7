"""Send requests to the pages of services on this host, with a sign-in."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any, Dict, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

REQUEST_SECONDS = 60.0
_LIMIT_BYTES = 32 * 1024 * 1024


class Failed(Exception):
    """A feature does not work; the message gives the reason."""


class Unproven(Exception):
    """A feature could not be tested; the message gives the reason."""


def value_at(value: Any, *path: str) -> Any:
    """Return the value at a path of keys in data of any type, or None."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


class Answer(NamedTuple):
    """The response of a page; ``status`` is 0 if there was none, ``problem`` is then the reason."""

    status: int
    content: bytes
    kind: str
    cookies: Tuple[str, ...] = ()
    problem: str = ""

    @property
    def json(self) -> Any:
        """Return the body as data, or None."""
        try:
            return json.loads(self.content.decode("utf-8"))
        except ValueError:
            return None

    def at(self, *path: str) -> Any:
        """Return the value at a path of keys in the JSON body, or None."""
        return value_at(self.json, *path)

    def reason(self) -> str:
        """Describe the response for an error message, with the page's own reason if it has one."""
        if self.problem:
            return self.problem
        reason = self.at("detail") or self.at("message")
        text = str(reason) if reason else self.content[:120].decode("utf-8", "replace").strip()
        return "status %d, %s" % (self.status, text[:200] or "an empty body")


class Page:
    """A server on this host, with the headers of the sign-in."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers: Dict[str, str] = {}

    def get(self, path: str) -> Answer:
        """Send a GET; return the response."""
        return self.request("GET", path)

    def post(self, path: str, body: Any, seconds: float = REQUEST_SECONDS) -> Answer:
        """POST JSON; return the response."""
        content = json.dumps(body).encode()
        return self.request("POST", path, content, "application/json", seconds)

    def request(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        kind: str = "",
        seconds: float = REQUEST_SECONDS,
    ) -> Answer:
        """Send a request; return the response. A missing response is an Answer, too."""
        headers = dict(self.headers, **({"Content-Type": kind} if kind else {}))
        parts = urlsplit(self.url)
        try:
            # Without a proxy: the server is on this host.
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=seconds
            )
            with contextlib.closing(connection):
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                content = response.read(_LIMIT_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: a value from another program's response cannot be sent in a header.
            return Answer(0, b"", "", problem=str(error) or type(error).__name__)
        cookies = tuple(response.msg.get_all("Set-Cookie") or ())
        media = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return Answer(response.status, content, media, cookies)

    def take_cookie(self, reply: Answer) -> bool:
        """Keep the cookies that a browser sends back over http; return whether there are any."""
        kept = [item.partition(";")[0] for item in reply.cookies if not _is_secure(item)]
        self.headers["Cookie"] = "; ".join(kept)
        return bool(kept)


def _is_secure(cookie: str) -> bool:
    return any(part.strip().lower() == "secure" for part in cookie.split(";")[1:])
