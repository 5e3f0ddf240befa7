"""What a server sends in the place of the file: a login page, a Git LFS pointer. Pure."""

from __future__ import annotations

import re

_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html|<head|<body)", re.I)
_POINTER = b"version https://git-lfs.github.com/spec/"
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})\r?$", re.M)


def imposter(content: bytes, is_page: bool, sha256: str) -> str:
    """Return what ``content``, the first bytes of an answer, is instead of the file, or ``""``.

    ``is_page`` says that the server calls it HTML.
    """
    if content.startswith(_POINTER):
        found = _OID.search(content)
        whose = "the pointer to this very file; " if found and found[1].decode() == sha256 else ""
        advice = "use the address with /resolve/ or /media/ instead of /raw/ or /blob/"
        return "a Git LFS pointer instead of the file (%s%s)" % (whose, advice)
    if is_page or _PAGE.match(content):
        return "a web page instead of the file (perhaps a login page)"
    return ""
