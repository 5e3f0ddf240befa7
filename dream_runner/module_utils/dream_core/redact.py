"""Remove secrets from text: known values, and everything that looks like a secret.

Known values are removed everywhere, also in URL quoting or base64. Other secrets are recognised by
their form: the value of a key such as ``password``, credentials in a URL, tokens with a known
prefix, private keys.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Iterable, List, Mapping, Set
from urllib.parse import quote

GONE = "***"
#: Shorter values are often ordinary words and are not removed.
_SHORTEST = 6

#: Keys whose values are secret. ``tokens`` is a count, ``token`` a secret; a key that ends in file
#: or path holds a path.
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
        # A password with an unencoded slash; a port or a path with an @ does not match.
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
    """Remove a set of known secrets, and everything that has the form of a secret."""

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
        """Return plain data without secrets; the whole value of a secret key is replaced."""
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
        """Return whether ``text`` contains a known secret."""
        return any(value in text for value in self._values)


#: The secrets that this process knows: from its environment, from the user, or from a file.
_known: Set[str] = set()


def remember(values: Iterable[str]) -> None:
    """Make ``clean`` remove these values everywhere."""
    _known.update(value for value in values if value)


def remember_environment(environment: Mapping[str, str]) -> None:
    """Remember the values of variables with secret names, and passwords in addresses."""
    for name, value in environment.items():
        if SECRET_NAME.fullmatch(name):
            remember([value])
        user_info, at, _ = value.partition("://")[2].rpartition("@")
        if at:
            remember([user_info.partition(":")[2] or user_info])


def clean(text: str, limit: int = 0) -> str:
    """Return text from outside without secrets; ``limit`` cuts out its middle."""
    return shortened(Redactor(_known).text(text), limit)


def shortened(text: str, limit: int) -> str:
    """Shorten ``text`` to about ``limit`` characters (0: no limit) by cutting out its middle."""
    if not limit or len(text) <= limit:
        return text
    return text[: limit * 2 // 3] + " ... " + text[-limit // 3 :]


def without_logins(text: str) -> str:
    """Return ``text`` without the user and password of any address.

    A password may contain a slash, so everything up to the last @ of a word is removed.
    """
    return re.sub(r"(\w+://)\S*@", r"\1***@", text)
