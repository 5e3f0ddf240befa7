"""Fingerprints without gpg, compared with gpg's own, and every way to be no key file."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.packages import openpgp

#: The archive's keys lie on every Debian; their fingerprints are published by Debian.
DEBIAN = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
BOOKWORM = "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8"


@pytest.mark.skipif(not DEBIAN.exists(), reason="no Debian")
def test_debian_s_own_keys() -> None:
    assert BOOKWORM in openpgp.fingerprints(DEBIAN.read_bytes())


@pytest.mark.skipif(not (shutil.which("gpg") and DEBIAN.exists()), reason="no gpg")
def test_gpg_says_the_same(tmp_path: Path) -> None:
    command = ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys", str(DEBIAN)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    after = [lines[number + 1 :] for number, line in enumerate(lines) if line.startswith("pub:")]
    expected = [next(line for line in rest if line[:4] == "fpr:").split(":")[9] for rest in after]
    assert sorted(openpgp.fingerprints(DEBIAN.read_bytes())) == sorted(expected)


def packet(body: bytes, tag: int = 6) -> bytes:
    return bytes([0xC0 | tag, len(body)]) + body


KEY = packet(b"\x04" + b"k" * 20)


def armour(content: bytes, words: str = "PUBLIC KEY BLOCK") -> bytes:
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN PGP {words}-----\n\n{text}=abcd\n-----END PGP {words}-----\n".encode()


def test_armoured_or_not_is_the_same_key() -> None:
    one = openpgp.fingerprints(KEY)
    assert len(one) == 1
    assert openpgp.fingerprints(armour(KEY)) == one
    assert openpgp.fingerprints(armour(KEY).replace(b"\n", b"\r\n")) == one
    assert openpgp.binary(armour(KEY)) == KEY


def test_every_key_of_the_file_counts() -> None:
    other = packet(b"\x04other")
    assert len(openpgp.fingerprints(KEY + packet(b"name", 13) + other)) == 2
    assert len(openpgp.fingerprints(armour(KEY) + armour(other))) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>login</html>",
        KEY[:-3],
        packet(b"\x06" + b"k" * 20),
        packet(b"name", 13),
        armour(KEY, "PRIVATE KEY BLOCK"),
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"\x80",
    ],
)
def test_what_is_no_key_file(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        openpgp.fingerprints(content)
