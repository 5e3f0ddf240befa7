"""Compute the fingerprints of public keys without gpg, which a bare host lacks. Pure.

RFC 4880: a key file consists of packets; tag 6 is a primary key. The fingerprint of a version 4 key
is the SHA-1 of 0x99, the length in two bytes and the packet.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Iterator, List, Tuple

_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n]*:[^\n]*\n)*\s*\n?(.*?)"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_PUBLIC_KEY = 6


def fingerprints(content: bytes) -> List[str]:
    """Return the fingerprint of every primary key. Raises ValueError if it is not a key file.

    All keys count, because trusting the file means trusting every key in it.
    """
    found = [
        hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
        for tag, body in _packets(binary(content))
        if tag == _PUBLIC_KEY and _is_version_4(body)
    ]
    if not found:
        raise ValueError("it contains no public key")
    return found


def binary(content: bytes) -> bytes:
    """Return the packets of a key file, with or without armour."""
    blocks = _ARMOR.findall(content.replace(b"\r\n", b"\n"))
    if not blocks:
        return content
    return b"".join(_dearmor(block) for block in blocks)


def _dearmor(block: bytes) -> bytes:
    # The last line, which begins with =, is only a checksum against transmission errors.
    lines = [line.strip() for line in block.splitlines() if not line.startswith(b"=")]
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error as error:
        raise ValueError("its armour is invalid: %s" % error) from error


def _is_version_4(body: bytes) -> bool:
    if body[:1] != b"\x04":
        raise ValueError(
            "it contains a key of version %d; only version 4 is supported" % (body or b"\0")[0]
        )
    return True


def _packets(data: bytes) -> Iterator[Tuple[int, bytes]]:
    place = 0
    while place < len(data):
        head = data[place]
        if not head & 0x80:
            raise ValueError("it is not an OpenPGP file")
        tag, place, length = _header(data, place + 1, head)
        if place + length > len(data):
            raise ValueError("it is truncated")
        yield tag, data[place : place + length]
        place += length


def _header(data: bytes, place: int, head: int) -> Tuple[int, int, int]:
    """Return the tag, and the position and length of the body."""
    try:
        if head & 0x40:
            return (head & 0x3F, *_new_length(data, place))
        size = (1, 2, 4)[head & 3]
        length = int.from_bytes(data[place : place + size], "big")
        return (head >> 2) & 0x0F, place + size, length
    except IndexError as error:
        raise ValueError("it contains a packet without a length") from error


def _new_length(data: bytes, place: int) -> Tuple[int, int]:
    first = data[place]
    if first < 192:
        return place + 1, first
    if first < 224:
        return place + 2, ((first - 192) << 8) + data[place + 1] + 192
    if first == 255:
        return place + 5, int.from_bytes(data[place + 1 : place + 5], "big")
    raise ValueError("it contains a packet of unknown length")
