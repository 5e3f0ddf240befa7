"""Query the model server on this host."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import time
from typing import Any, Callable, Dict, Mapping, Optional
from urllib.parse import urlsplit

from ..errors import EngineError
from ..types.health import Answer, Fetched

#: Pauses between attempts in seconds; the last one repeats. A small model starts in milliseconds, a
#: large one in minutes.
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
_REQUEST_SECONDS = 5.0
#: An unusual limit, which identifies our request among those in the server's slots.
_ANSWER_TOKENS = 17
#: Seconds to wait for an engine that is busy with other requests, and between two checks.
PATIENCE_SECONDS = 1.0
_GLANCE_SECONDS = 0.2
_SLOTS_SECONDS = 1.0
_QUESTION = "Say hello."


def get(url: str, timeout_seconds: float = _REQUEST_SECONDS) -> Fetched:
    """Send one GET; return ``{status, error}``. A missing answer is an error, not an exception."""
    try:
        status, _ = _request(url, "GET", None, timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        return {"status": None, "error": str(error) or type(error).__name__}
    return {"status": status, "error": ""}


def wait_until_ready(
    url: str,
    deadline_seconds: float,
    broken: Callable[[], str] = lambda: "",
) -> float:
    """Wait until a GET of ``url`` returns 200; return the waiting time in seconds.

    ``broken`` returns why waiting is useless (the program has failed permanently), or an empty
    string. Raises EngineError ENGINE_NOT_READY.
    """
    began = time.monotonic()
    attempt = 0
    while True:
        answer = get(url)
        if answer["status"] == 200:
            return time.monotonic() - began
        why = broken()
        waited = time.monotonic() - began
        if why or waited > deadline_seconds:
            seen = answer["error"] or "status %s" % answer["status"]
            raise EngineError(
                "%s is not ready after %.0f s: %s" % (url, waited, why or seen),
                code="ENGINE_NOT_READY",
                where=url,
                hint="see its log; 'dream-runner doctor' shows details",
            )
        time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
        attempt += 1


def complete(
    base_url: str,
    model: str,
    timeout_seconds: float,
    exact: bool = False,
    *,
    key: str = "",
    patience_seconds: float = PATIENCE_SECONDS,
    trusting: bool = False,
) -> Answer:
    """Ask the model one question; return ``{text, seconds, busy}``.

    Only an answer proves that the model is ready: a server may return HTTP 200 without a loaded
    model. A llama.cpp engine that works on other requests for all of ``patience_seconds`` is
    ``busy`` without ``text``, and counts as working; with ``trusting``, an engine that does not
    report its work counts as busy too. Raises EngineError ENGINE_NO_ANSWER if the answer has no
    text. With ``exact``, also raises ENGINE_OTHER_MODEL if the answer names another model;
    llama.cpp's server always reports the model that it has loaded.
    """
    url = base_url.rstrip("/") + "/v1/chat/completions"
    began = time.monotonic()
    watch = _Work(base_url, key, trusting)
    try:
        status, content = _answer(url, model, timeout_seconds, key, watch, patience_seconds)
    except _Busy:
        if exact:
            _check_name(url, model, served(base_url, key))
        return {"text": "", "seconds": time.monotonic() - began, "busy": True}
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(url, str(error) or type(error).__name__) from error
    text = _text(content) if status == 200 else None
    if not text:
        raise _no_answer(url, _refusal(status, content))
    if exact:
        _check_name(url, model, _named(content))
    return {"text": text, "seconds": time.monotonic() - began, "busy": False}


def served(base_url: str, key: str = "", timeout_seconds: float = _REQUEST_SECONDS) -> str:
    """Return the model that the server reports. Raises EngineError ENGINE_NO_ANSWER."""
    url = base_url.rstrip("/") + "/v1/models"
    try:
        status, content = _request(url, "GET", None, timeout_seconds, key)
        name = json.loads(content.decode("utf-8"))["data"][0]["id"]
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(url, str(error) or type(error).__name__) from error
    except (ValueError, LookupError, TypeError) as error:
        raise _no_answer(url, _refusal(status, content)) from error
    return str(name)


def _check_name(url: str, model: str, found: str) -> None:
    if found not in ("", model):
        raise EngineError(
            "%s answers instead of %s" % (found, model),
            code="ENGINE_OTHER_MODEL",
            where=url,
            hint="run 'dream-runner install' again; if the error persists, another program uses "
            "the port",
        )


class _Busy(Exception):
    """The engine is busy with other requests."""


def _answer(
    url: str, model: str, timeout_seconds: float, key: str, watch: _Work, patience_seconds: float
) -> Any:
    """Send the question; return status and body of the answer. Raises _Busy."""
    began = time.monotonic()
    while watch.is_taken():
        if time.monotonic() - began > patience_seconds:
            raise _Busy
        time.sleep(_GLANCE_SECONDS)
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": _QUESTION}],
            "max_tokens": _ANSWER_TOKENS,
            "temperature": 0,
        }
    ).encode()
    deadline = time.monotonic() + timeout_seconds
    with contextlib.closing(_connection(url, timeout_seconds)) as connection:
        connection.request("POST", urlsplit(url).path, body, _headers(body, key))
        # Another request may have come between the check and the question.
        while not select.select([connection.sock], [], [], _GLANCE_SECONDS)[0]:
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError("no answer in %.0f s" % timeout_seconds)
            if now - began > patience_seconds and watch.is_taken():
                raise _Busy
        response = connection.getresponse()
        return response.status, response.read(_BODY_LIMIT)


class _Work:
    """The work of llama.cpp's server, as far as the server reports it."""

    def __init__(self, base_url: str, key: str, trusting: bool) -> None:
        parts = urlsplit(base_url)
        self._url = "%s://%s/slots" % (parts.scheme, parts.netloc)
        self._key = key
        self._trusting = trusting
        self._has_slots = True
        self._before = ""

    def is_taken(self) -> bool:
        """Return whether all slots work on other requests and progressed since the last call.

        A server that does not answer this is not asked again.
        """
        if not self._has_slots:
            return False
        try:
            status, content = _request(self._url, "GET", None, _SLOTS_SECONDS, self._key)
            slots = json.loads(content.decode("utf-8")) if status == 200 else []
            taken = bool(slots) and all(_is_for_others(slot) for slot in slots)
        except socket.timeout:
            # It processes a long prompt, and answers only between two batches.
            return self._trusting
        except (OSError, http.client.HTTPException, ValueError, TypeError, AttributeError):
            self._has_slots = False
            return False
        self._has_slots = status == 200
        before, self._before = self._before, str(slots)
        return taken and self._before != before


def _is_for_others(slot: Mapping[str, Any]) -> bool:
    """Return whether a slot works on another request than ours."""
    asked = (slot.get("params") or {}).get("max_tokens")
    return bool(slot.get("is_processing")) and asked != _ANSWER_TOKENS


def _refusal(status: int, content: bytes) -> str:
    said = content[:200].decode("utf-8", "replace").strip()
    return "status %d, %s" % (status, said or "an empty body")


def _text(content: bytes) -> Optional[str]:
    """Return the text of a chat response; reasoning models may put it in another field."""
    try:
        message = json.loads(content.decode("utf-8"))["choices"][0]["message"]
        text = message.get("content") or message.get("reasoning_content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return text if isinstance(text, str) and text.strip() else None


def _named(content: bytes) -> str:
    """Return the model that a chat response names, or an empty string."""
    try:
        return str(json.loads(content.decode("utf-8")).get("model") or "")
    except (ValueError, AttributeError):
        return ""


def _no_answer(url: str, why: str) -> EngineError:
    return EngineError(
        "the model gave no answer: %s" % why,
        code="ENGINE_NO_ANSWER",
        where=url,
        hint="see its log; 'dream-runner doctor' shows details",
    )


#: Maximum response size; another program's server may send without end.
_BODY_LIMIT = 1024 * 1024


def _request(url: str, method: str, body: Optional[bytes], timeout: float, key: str = "") -> Any:
    with contextlib.closing(_connection(url, timeout)) as connection:
        connection.request(method, urlsplit(url).path or "/", body, _headers(body, key))
        response = connection.getresponse()
        return response.status, response.read(_BODY_LIMIT)


def _connection(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    # Without a proxy: the server is on this host.
    host = (parts.hostname or "").replace("%25", "%")
    return http.client.HTTPConnection(host, parts.port, timeout=timeout)


def _headers(body: Optional[bytes], key: str) -> Dict[str, str]:
    headers = {"Content-Type": "application/json"} if body else {}
    return dict(headers, Authorization="Bearer " + key) if key else headers


def page(url: str, timeout_seconds: float = _REQUEST_SECONDS) -> str:
    """Request a page as a browser does; return why it is not a page, or an empty string."""
    try:
        with contextlib.closing(_connection(url, timeout_seconds)) as connection:
            connection.request("GET", urlsplit(url).path or "/", None, _BROWSER)
            response = connection.getresponse()
            body = response.read(_BODY_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    kind = response.getheader("Content-Type") or "nothing"
    if response.status != 200 or not kind.startswith("text/html") or not body:
        return "status %d with %s" % (response.status, kind)
    return ""


#: llama.cpp's server has its page only in this encoding.
_BROWSER = {"Accept": "text/html", "Accept-Encoding": "gzip, deflate"}
