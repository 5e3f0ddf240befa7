"""Take secrets out of text: those that are known by value, and what looks like one.

Known values go wherever they stand, also quoted for a URL or in base64. What
looks like a secret goes by its form: the value of a key with a telling name,
credentials in a URL, tokens by their prefix, private keys.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Iterable, List, Mapping, Set
from urllib.parse import quote

GONE = "***"
#: Shorter values are words; to remove them everywhere would remove the text.
_SHORTEST = 6

#: A key whose value is nobody's business. ``tokens`` counts, ``token`` opens; a key that ends in
#: file or path names a place.
_NAME = (
    r"[\w.-]*(?:secret|token(?!s)|passw(?:or)?d|passphrase|_pass\b|\bpass\b|api[_-]?key|_key\b"
    r"|salt|credential|private[_-]?key|cookie|authorization)(?![\w.-]*(?:file|path)\b)[\w.-]*"
)
SECRET_NAME = re.compile(_NAME, re.I)

_FORMS = tuple(
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.S,
            GONE,
        ),
        # user:password@ and what is signed: the query of an address.
        (r"(\b[a-z][a-z0-9+.-]*://)[^/\s\"'@]*@", re.I, r"\1%s@" % GONE),
        # A slash in the password that is not encoded; a port and a path with @ are none.
        (
            r"(\b[a-z][a-z0-9+.-]*://)[^/\s\"'@:]+:(?![0-9]{1,5}/@)[^\s\"'<>@]*@",
            re.I,
            r"\1%s@" % GONE,
        ),
        # Parameters of a path: ;jsessionid=...
        (r"(\bhttps?://[^\s\"'?<>;]+);[^\s\"'<>?/]+", re.I, r"\1;%s" % GONE),
        (r"(\bhttps?://[^\s\"'?<>]+)\?[^\s\"'<>]+", re.I, r"\1?%s" % GONE),
        (r"\b(Bearer|Basic|Digest|Token) +[A-Za-z0-9._~+/=-]{6,}", re.I, r"\1 %s" % GONE),
        (r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|pk-lf-|AKIA)[\w-]{8,}", 0, GONE),
        (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", 0, GONE),
        # --token VALUE, --password=VALUE
        (r"(--%s[ =])\s*[^\s\"',]+" % _NAME, re.I, r"\1%s" % GONE),
        # KEY=value, "key": "value", key: value
        (r"(\b%s\\?[\"']?\s*[:=]\s*)(\\?\")(?:[^\"\\]|\\.)*" % _NAME, re.I, r"\1\2%s" % GONE),
        (r"(\b%s[\"']?\s*[:=]\s*)(?![\s\"\\{\[]|\*\*\*)[^\s,}\]]+" % _NAME, re.I, r"\1%s" % GONE),
    )
)


class Redactor:
    """Removes a set of known secrets, and everything that has the form of one."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        values = {value.strip() for value in known}
        self.known = frozenset(value for value in values if len(value) >= _SHORTEST)
        forms: Set[str] = set()
        for value in self.known:
            raw = value.encode("utf-8", "surrogateescape")
            forms |= {value, quote(value, safe=""), json.dumps(value)[1:-1]}
            forms.add(base64.b64encode(raw).decode().rstrip("="))
        self._values: List[str] = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for value in self._values:
            text = text.replace(value, GONE)
        for pattern, replacement in _FORMS:
            text = pattern.sub(replacement, text)
        return text

    def document(self, value: Any) -> Any:
        """Return plain data without secrets; a telling key hides whatever it holds."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.document(item) for item in value]
        if isinstance(value, dict):
            return {
                self.text(str(key)): GONE
                if isinstance(item, str) and item and SECRET_NAME.fullmatch(str(key))
                else self.document(item)
                for key, item in value.items()
            }
        return value

    def leaks(self, text: str) -> bool:
        """Tell whether a known secret stands in ``text``."""
        return any(value in text for value in self._values)


#: The secrets that this process has met: of its environment, typed, read from a file.
_known: Set[str] = set()


def remember(values: Iterable[str]) -> None:
    """Let ``clean`` remove these values from now on, wherever they stand."""
    _known.update(value for value in values if value)


def remember_environment(environment: Mapping[str, str]) -> None:
    """Remember what variables with a telling name hold, and the passwords in addresses."""
    for name, value in environment.items():
        if SECRET_NAME.fullmatch(name):
            remember([value])
        user_info, at, _ = value.partition("://")[2].rpartition("@")
        if at:
            remember([user_info.partition(":")[2] or user_info])


def clean(text: str, limit: int = 0) -> str:
    """Return text that may quote somebody else, without secrets; ``limit`` cuts its middle out."""
    return shortened(Redactor(_known).text(text), limit)


def shortened(text: str, limit: int) -> str:
    """Return ``text`` with its middle cut out where it is longer than ``limit`` (0: any length)."""
    if not limit or len(text) <= limit:
        return text
    return text[: limit * 2 // 3] + " ... " + text[-limit // 3 :]


def without_logins(text: str) -> str:
    """Return ``text`` without the user and password of any address.

    A password may hold a slash, so that everything up to the last @ of a word goes.
    """
    return re.sub(r"(\w+://)\S*@", r"\1***@", text)
