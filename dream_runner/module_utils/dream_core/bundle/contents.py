"""A bundle: everything an install needs, in one directory, provable without this program.

``SHA256SUMS`` names every file, so that ``sha256sum -c`` alone verifies it;
``bundle.json`` says what the files are. Nothing in either is believed before it
was checked: names that lead outside, links and files nobody listed are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..errors import IntegrityError
from ..files.hashing import hash_file, hash_files
from ..system import tools
from ..system.filesystems import parts_of

MANIFEST = "bundle.json"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
SCHEMA = "dream-runner.bundle/1"
#: What ssh-keygen binds a signature to, so that one made for another purpose is worth nothing.
NAMESPACE = "dream-runner-bundle"
#: Signers whose word counts; where there is such a file, an unsigned bundle is refused.
SIGNERS_FILES = ("/etc/dream-runner/trusted-signers", "~/.config/dream-runner/trusted-signers")

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
#: Letters that every filesystem takes, FAT included, and that need no quotes in a shell.
_NAME = re.compile(r"[A-Za-z0-9_+~%@-][A-Za-z0-9_+.~%@-]*")
_LIMIT_BYTES = 16 * 1024 * 1024

OnBytes = Callable[[int, int], None]


class Bundle(NamedTuple):
    """A bundle whose form is right: where it is, what it says, and the digest of each file."""

    directory: str
    manifest: Dict[str, Any]
    sums: Dict[str, str]

    @property
    def size_bytes(self) -> int:
        """Return the bytes in all files."""
        return sum(os.path.getsize(os.path.join(self.directory, name)) for name in self.sums)


def blob(sha256: str) -> str:
    """Return the name of a model file in a bundle."""
    return "blobs/sha256/" + sha256


def inspect(directory: str, signers: str = "") -> Bundle:
    """Return the bundle in ``directory`` after a look at everything but the files' content.

    ``signers`` is a file of trusted signers, in the form of ssh-keygen; given,
    one of them must have signed. Raises IntegrityError.
    """
    sums = _sums(directory)
    _check_signature(directory, signers)
    problems = [*_problems_of_tree(directory, sums), *_problems_of_manifest(directory, sums)]
    if problems:
        raise _broken(directory, problems)
    return Bundle(directory, _manifest(directory), sums)


def verify(bundle: Bundle, on_bytes: Optional[OnBytes] = None) -> None:
    """Read every file and compare. Raises IntegrityError that names those that differ."""
    total, done = bundle.size_bytes, 0
    problems = []
    for name, wanted in bundle.sums.items():
        path = os.path.join(bundle.directory, name)
        try:
            digest = hash_file(path)
        except OSError as error:
            digest = str(error.strerror)
        if digest != wanted:
            problems.append("%s: its sha256 is %s" % (name, digest))
        done += os.path.getsize(path)
        if on_bytes:
            on_bytes(done, total)
    for item in _model_files(bundle.manifest):
        parts = parts_of(os.path.join(bundle.directory, blob(item["sha256"])))
        if len(parts) > 1 and not problems and hash_files(parts) != item["sha256"]:
            problems.append("%s: its parts are not the file" % item["file"])
    if problems:
        raise _broken(bundle.directory, problems)


def trusted_signers(home: str) -> str:
    """Return the file of signers that this host trusts; empty where there is none."""
    places = (place.replace("~", home, 1) for place in SIGNERS_FILES)
    return next((place for place in places if os.path.exists(place)), "")


def _broken(directory: str, problems: List[str]) -> IntegrityError:
    more = " and %d more" % (len(problems) - 5) if len(problems) > 5 else ""
    return IntegrityError(
        "the bundle is not as it was made: %s%s" % ("; ".join(problems[:5]), more),
        code="BUNDLE_BROKEN",
        where=directory,
        hint="copy it again from its source; 'sha256sum -c SHA256SUMS' in it tells the same",
    )


def _sums(directory: str) -> Dict[str, str]:
    """Return ``{name: digest}`` of the list; every name is safe and there once."""
    found: Dict[str, str] = {}
    seen = set()
    for line in _read(directory, SUMS).decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if not match or not is_safe(match.group(2)):
            raise _broken(directory, ["%s has a line that is none: %.80r" % (SUMS, line)])
        # Two names that a FAT cannot tell apart would be one file there.
        if match.group(2).lower() in seen:
            raise _broken(directory, ["%s names %s twice" % (SUMS, match.group(2))])
        seen.add(match.group(2).lower())
        found[match.group(2)] = match.group(1)
    if MANIFEST not in found:
        raise _broken(directory, ["%s does not name %s" % (SUMS, MANIFEST)])
    return found


def is_safe(name: str) -> bool:
    """Tell whether a name leads to a file in the bundle wherever it is copied."""
    return all(_NAME.fullmatch(part) for part in name.split("/"))


def _read(directory: str, name: str) -> bytes:
    path = os.path.join(directory, name)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return stream.read(_LIMIT_BYTES)
            raise _broken(directory, ["%s is not a regular file" % name])
    except OSError as error:
        why = "%s cannot be read: %s" % (name, error.strerror)
        raise _broken(directory, [why]) from error


def _problems_of_tree(directory: str, sums: Mapping[str, str]) -> Iterator[str]:
    there = set()
    for folder, folders, files in os.walk(directory):
        for name in folders + files:
            path = os.path.join(folder, name)
            short = os.path.relpath(path, directory)
            kind = os.lstat(path).st_mode
            if stat.S_ISREG(kind):
                there.add(short)
            elif not stat.S_ISDIR(kind):
                yield "%s is neither a file nor a directory" % short
    for name in sorted(set(sums) - there):
        yield "%s is not there" % name
    for name in sorted(there - set(sums) - {SUMS, SIGNATURE}):
        yield "%s is in no list" % name


def _problems_of_manifest(directory: str, sums: Mapping[str, str]) -> Iterator[str]:
    content = _read(directory, MANIFEST)
    if hashlib.sha256(content).hexdigest() != sums[MANIFEST]:
        yield "%s: its sha256 is another" % MANIFEST
        return
    try:
        manifest = _manifest(directory)
        sizes = {str(name): int(size) for name, size in manifest["sizes"].items()}
        models = list(_model_files(manifest))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        yield "%s has an unknown form (%r)" % (MANIFEST, error)
        return
    if set(sizes) != set(sums) - {MANIFEST}:
        yield "%s and %s name different files" % (MANIFEST, SUMS)
    for name in sorted(set(sizes) & set(sums)):
        with contextlib.suppress(OSError):
            size = os.lstat(os.path.join(directory, name)).st_size
            if size != sizes[name]:
                yield "%s has %d bytes instead of %d" % (name, size, sizes[name])
    for item in models:
        name = blob(str(item["sha256"]))
        if name not in sums and name + ".000" not in sums:
            yield "the model file %s is not in it" % item["file"]
        if sums.get(name, item["sha256"]) != item["sha256"]:
            yield "%s is not what its name says" % name


def _manifest(directory: str) -> Dict[str, Any]:
    document = json.loads(_read(directory, MANIFEST).decode("utf-8"))
    if document.get("schema") != SCHEMA:
        raise ValueError("its schema is %r" % document.get("schema"))
    return dict(document)


def _model_files(manifest: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
    for model in manifest["models"]:
        for item in model["files"]:
            if not re.fullmatch("[0-9a-f]{64}", str(item["sha256"])):
                raise ValueError("a digest of %s is none" % model.get("id"))
            yield dict(item)


# --- signatures ---------------------------------------------------------------------


def _check_signature(directory: str, signers: str) -> None:
    if not signers:
        return
    path = os.path.join(directory, SIGNATURE)
    if not os.path.isfile(path) or os.path.islink(path):
        raise _unsigned(directory, "it is not signed, and %s names who must have" % signers)
    shared = ["-f", signers, "-n", NAMESPACE, "-s", path]
    status, said = _ssh_keygen(["-Y", "find-principals", "-f", signers, "-s", path], b"")
    if status != 0 or not said.strip():
        raise _unsigned(directory, "its signer is none of those in %s" % signers)
    name = said.split()[0]
    status, said = _ssh_keygen(["-Y", "verify", "-I", name, *shared], _read(directory, SUMS))
    if status != 0:
        raise _unsigned(directory, "the signature does not fit: %s" % said.strip()[:200])


def sign(directory: str, key: str) -> None:
    """Sign the list with the private ``key`` of ssh-keygen. Raises IntegrityError."""
    status, said = _ssh_keygen(["-Y", "sign", "-f", key, "-n", NAMESPACE], _read(directory, SUMS))
    if status != 0:
        raise _unsigned(directory, "it cannot be signed: %s" % said.strip()[:200])
    with open(os.path.join(directory, SIGNATURE), "w", encoding="ascii") as handle:
        handle.write(said)


def _unsigned(directory: str, what: str) -> IntegrityError:
    return IntegrityError(
        "%s: %s" % (os.path.basename(directory.rstrip("/")) or directory, what),
        code="BUNDLE_SIGNATURE",
        where=directory,
        hint="take the bundle from somebody you trust, or correct the file of signers",
    )


def _ssh_keygen(arguments: List[str], content: bytes) -> Tuple[int, str]:
    """Return the exit status and what was said; a signature goes to standard output."""
    program = tools.path_of("ssh-keygen")
    if not program:
        return 1, "ssh-keygen is not there (package openssh-client)"
    done = tools.run([program, *arguments], content=content)
    return done.status, done.output if done.status == 0 else done.output + done.errors
