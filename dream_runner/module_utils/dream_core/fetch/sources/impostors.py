"""Detect what a server sends in place of the file: a login page, a Git LFS pointer. Pure."""

from __future__ import annotations

import re

_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html|<head|<body)", re.I)
_POINTER = b"version https://git-lfs.github.com/spec/"
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})\r?$", re.M)


def imposter(content: bytes, is_page: bool, sha256: str) -> str:
    """Describe ``content``, the first bytes of an answer, if it is not the file, else ``""``.

    ``is_page`` is true if the server states that it is HTML.
    """
    if content.startswith(_POINTER):
        found = _OID.search(content)
        whose = "the pointer to this file; " if found and found[1].decode() == sha256 else ""
        advice = "use the address with /resolve/ or /media/ instead of /raw/ or /blob/"
        return "a Git LFS pointer instead of the file (%s%s)" % (whose, advice)
    if is_page or _PAGE.match(content):
        return "a web page instead of the file (perhaps a login page)"
    return ""
