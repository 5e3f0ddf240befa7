"""Ask a server on this host, and believe nothing but its answer."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Callable, Dict, Optional
from urllib.parse import urlsplit

from .errors import EngineError

#: Pauses between attempts, in seconds; the last one repeats. A start takes
#: milliseconds for a small model and minutes for a large one.
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
_REQUEST_SECONDS = 5.0
_ANSWER_TOKENS = 16
_QUESTION = "Say hello."


def get(url: str, timeout_seconds: float = _REQUEST_SECONDS) -> Dict[str, Any]:
    """Return ``{status, error}`` of one GET; no answer is an error, not an exception."""
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
    """Wait until a GET of ``url`` answers 200; return the seconds it took.

    ``broken`` returns why waiting is useless (the program has failed for good),
    or an empty string. Raises EngineError ENGINE_NOT_READY.
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
                hint="its log says why; 'dream-runner doctor' looks closer",
            )
        time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
        attempt += 1


def complete(
    base_url: str, model: str, timeout_seconds: float, exact: bool = False
) -> Dict[str, Any]:
    """Ask the model one question; return ``{text, seconds}``.

    Ready means this: HTTP 200 has been seen without any model loaded. Raises
    EngineError ENGINE_NO_ANSWER unless the answer has text; with ``exact`` also
    ENGINE_OTHER_MODEL where the answer names another model, as llama.cpp's
    server does whatever it is asked for.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": _ANSWER_TOKENS,
        "temperature": 0,
    }
    url = base_url.rstrip("/") + "/v1/chat/completions"
    began = time.monotonic()
    try:
        status, content = _request(url, "POST", json.dumps(body).encode(), timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(url, str(error) or type(error).__name__) from error
    text = _text(content) if status == 200 else None
    if not text:
        said = content[:200].decode("utf-8", "replace").strip()
        raise _no_answer(url, "status %d, %s" % (status, said or "an empty body"))
    other = _named(content)
    if exact and other not in ("", model):
        raise EngineError(
            "%s answers, and not %s" % (other, model),
            code="ENGINE_OTHER_MODEL",
            where=url,
            hint="run 'dream-runner install' again; if it stays so, another program has the port",
        )
    return {"text": text, "seconds": time.monotonic() - began}


def _text(content: bytes) -> Optional[str]:
    """Return the text of a chat answer; reasoning models may put it in another field."""
    try:
        message = json.loads(content.decode("utf-8"))["choices"][0]["message"]
        text = message.get("content") or message.get("reasoning_content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return text if isinstance(text, str) and text.strip() else None


def _named(content: bytes) -> str:
    """Return the model that a chat answer says it is of, or an empty string."""
    try:
        return str(json.loads(content.decode("utf-8")).get("model") or "")
    except (ValueError, AttributeError):
        return ""


def _no_answer(url: str, why: str) -> EngineError:
    return EngineError(
        "the model gave no answer: %s" % why,
        code="ENGINE_NO_ANSWER",
        where=url,
        hint="its log says why; 'dream-runner doctor' looks closer",
    )


#: No answer of ours is longer; a foreign server may send without end.
_BODY_LIMIT = 1024 * 1024


def _request(url: str, method: str, body: Optional[bytes], timeout: float) -> Any:
    parts = urlsplit(url)
    # No proxy is asked: the server is on this host.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, parts.path or "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read(_BODY_LIMIT)
    finally:
        connection.close()
