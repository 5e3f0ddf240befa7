"""Find the apt sources that could not be refreshed, with the reason and their file.

Machines with a GPU often have a vendor's source with an outdated key. Most packages come from the
distribution's own lists, so a broken source only matters if the installation fails; then it is
reported.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Iterator, List, NamedTuple, Optional, Sequence

from ..errors import DreamError, RequirementError
from ..redact import without_logins

_NAMED = re.compile(
    r"^(?:E|W): (?:The repository '(\S+)|GPG error: (\S+)|Failed to fetch (\S+)|"
    r"Malformed entry \d+ in (?:list|sources) file (\S+))",
    re.M,
)
#: apt's messages about permanent errors, with the reasons to show.
REASONS = (
    ("NO_PUBKEY", "its key is missing"),
    ("EXPKEYSIG", "its key has expired"),
    ("REVKEYSIG", "its key was revoked"),
    ("is not signed", "it is not signed"),
    ("does not have a Release file", "it has no Release file"),
    ("Malformed", "its entry cannot be read"),
)
_MOST_FILE_BYTES = 256 * 1024


class Broken(NamedTuple):
    """A source that could not be refreshed; ``file`` is empty if no file lists it."""

    uri: str
    file: str
    reason: str
    permanent: bool


def broken(output: str, root: str = "/etc/apt") -> List[Broken]:
    """Return the sources that ``apt-get update`` complained about in ``output``."""
    found = {}
    for match in _NAMED.finditer(output):
        uri = next(filter(None, match.groups())).rstrip(":").partition("/dists/")[0]
        file = uri if uri.startswith("/") else _file_of(uri, root)
        lines = [line for line in output.splitlines() if uri in line]
        known = [reason for mark, reason in REASONS if any(mark in line for line in lines)]
        found[uri] = Broken(uri, file, known[0] if known else "it cannot be reached", bool(known))
    return list(found.values())


def _file_of(uri: str, root: str) -> str:
    return next((path for path in _files(root) if uri.rstrip("/") in _text(path)), "")


def _files(root: str) -> Iterator[str]:
    yield os.path.join(root, "sources.list")
    for ending in ("list", "sources"):
        yield from sorted(glob.glob(os.path.join(root, "sources.list.d", "*." + ending)))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(_MOST_FILE_BYTES)
    except OSError:
        return ""


def warning(item: Broken) -> str:
    """Return a warning about one source, without a password that its address may contain."""
    place = " (%s)" % item.file if item.file else ""
    shown = without_logins(item.uri)
    return "cannot use the package source %s%s: %s" % (shown, place, item.reason)


def failure(sources: Sequence[Broken]) -> Optional[DreamError]:
    """Return the error of an installation that failed while sources are permanently broken."""
    bad = [item for item in sources if item.permanent]
    if not bad:
        return None
    places = ", ".join(item.file or without_logins(item.uri) for item in bad)
    return RequirementError(
        "packages could not be installed; " + "; ".join(map(warning, bad)),
        code="PACKAGE_SOURCE_BROKEN",
        where=bad[0].file,
        hint="correct or disable the source in %s, then run again" % places,
    )
