"""A bundle: everything that an offline install needs, in one directory.

``SHA256SUMS`` lists every file, so that ``sha256sum -c`` can verify the bundle without this
program; ``bundle.json`` describes the files. Neither file is trusted: names that lead outside the
directory, links and unlisted files are rejected.
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
#: The namespace of the signature, so that ssh-keygen rejects one that was made for another purpose.
NAMESPACE = "dream-runner-bundle"
#: The trusted signers. If this file exists, an unsigned bundle is rejected.
SIGNERS_FILES = ("/etc/dream-runner/trusted-signers", "~/.config/dream-runner/trusted-signers")

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
#: Characters that every filesystem accepts, including FAT, and that need no quotes in a shell.
_NAME = re.compile(r"[A-Za-z0-9_+~%@-][A-Za-z0-9_+.~%@-]*")
_LIMIT_BYTES = 16 * 1024 * 1024

OnBytes = Callable[[int, int], None]


class Bundle(NamedTuple):
    """A bundle with a valid form: its directory, its description, and the digest of each file."""

    directory: str
    manifest: Dict[str, Any]
    sums: Dict[str, str]

    @property
    def size_bytes(self) -> int:
        """Return the total size of all files in bytes."""
        return sum(os.path.getsize(os.path.join(self.directory, name)) for name in self.sums)


def blob(sha256: str) -> str:
    """Return the name of a model file in a bundle."""
    return "blobs/sha256/" + sha256


def inspect(directory: str, signers: str = "") -> Bundle:
    """Check everything but the content of the files in ``directory``; return the bundle.

    ``signers`` is a file of trusted signers in ssh-keygen's format; if it is given, one of them
    must have signed the bundle. Raises IntegrityError.
    """
    sums = _sums(directory)
    _check_signature(directory, signers)
    problems = [*_problems_of_tree(directory, sums), *_problems_of_manifest(directory, sums)]
    if problems:
        raise _broken(directory, problems)
    return Bundle(directory, _manifest(directory), sums)


def verify(bundle: Bundle, on_bytes: Optional[OnBytes] = None) -> None:
    """Read and verify every file. Raises IntegrityError, which lists the files that differ."""
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
    """Return the file of signers that this host trusts; empty if there is none."""
    places = (place.replace("~", home, 1) for place in SIGNERS_FILES)
    return next((place for place in places if os.path.exists(place)), "")


def _broken(directory: str, problems: List[str]) -> IntegrityError:
    more = " and %d more" % (len(problems) - 5) if len(problems) > 5 else ""
    return IntegrityError(
        "the bundle is damaged: %s%s" % ("; ".join(problems[:5]), more),
        code="BUNDLE_BROKEN",
        where=directory,
        hint="copy it again from its source; 'sha256sum -c SHA256SUMS' in its directory verifies "
        "it",
    )


def _sums(directory: str) -> Dict[str, str]:
    """Return ``{name: digest}`` from the list; every name is safe and occurs once."""
    found: Dict[str, str] = {}
    seen = set()
    for line in _read(directory, SUMS).decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if not match or not is_safe(match.group(2)):
            raise _broken(directory, ["%s has an invalid line: %.80r" % (SUMS, line)])
        # On FAT, names that differ only in case are the same file.
        if match.group(2).lower() in seen:
            raise _broken(directory, ["%s lists %s twice" % (SUMS, match.group(2))])
        seen.add(match.group(2).lower())
        found[match.group(2)] = match.group(1)
    if MANIFEST not in found:
        raise _broken(directory, ["%s does not list %s" % (SUMS, MANIFEST)])
    return found


def is_safe(name: str) -> bool:
    """Return whether a name stays inside the bundle, wherever the bundle is copied."""
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
        yield "%s is missing" % name
    for name in sorted(there - set(sums) - {SUMS, SIGNATURE}):
        yield "%s is not listed" % name


def _problems_of_manifest(directory: str, sums: Mapping[str, str]) -> Iterator[str]:
    content = _read(directory, MANIFEST)
    if hashlib.sha256(content).hexdigest() != sums[MANIFEST]:
        yield "%s: its sha256 differs" % MANIFEST
        return
    try:
        manifest = _manifest(directory)
        sizes = {str(name): int(size) for name, size in manifest["sizes"].items()}
        models = list(_model_files(manifest))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        yield "%s has an unknown format (%r)" % (MANIFEST, error)
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
            yield "it lacks the model file %s" % item["file"]
        if sums.get(name, item["sha256"]) != item["sha256"]:
            yield "the name of %s does not match its digest" % name


def _manifest(directory: str) -> Dict[str, Any]:
    document = json.loads(_read(directory, MANIFEST).decode("utf-8"))
    if document.get("schema") != SCHEMA:
        raise ValueError("its schema is %r" % document.get("schema"))
    return dict(document)


def _model_files(manifest: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
    for model in manifest["models"]:
        for item in model["files"]:
            if not re.fullmatch("[0-9a-f]{64}", str(item["sha256"])):
                raise ValueError("%s has an invalid digest" % model.get("id"))
            yield dict(item)


# --- signatures ---------------------------------------------------------------------


def _check_signature(directory: str, signers: str) -> None:
    if not signers:
        return
    path = os.path.join(directory, SIGNATURE)
    if not os.path.isfile(path) or os.path.islink(path):
        raise _unsigned(directory, "it is not signed, and %s requires a signature" % signers)
    shared = ["-f", signers, "-n", NAMESPACE, "-s", path]
    status, said = _ssh_keygen(["-Y", "find-principals", "-f", signers, "-s", path], b"")
    if status != 0 or not said.strip():
        raise _unsigned(directory, "its signer is not listed in %s" % signers)
    name = said.split()[0]
    status, said = _ssh_keygen(["-Y", "verify", "-I", name, *shared], _read(directory, SUMS))
    if status != 0:
        raise _unsigned(directory, "the signature is invalid: %s" % said.strip()[:200])


def sign(directory: str, key: str) -> None:
    """Sign the list with the private ``key`` of ssh-keygen. Raises IntegrityError."""
    status, said = _ssh_keygen(["-Y", "sign", "-f", key, "-n", NAMESPACE], _read(directory, SUMS))
    if status != 0:
        raise _unsigned(directory, "signing failed: %s" % said.strip()[:200])
    with open(os.path.join(directory, SIGNATURE), "w", encoding="ascii") as handle:
        handle.write(said)


def _unsigned(directory: str, what: str) -> IntegrityError:
    return IntegrityError(
        "%s: %s" % (os.path.basename(directory.rstrip("/")) or directory, what),
        code="BUNDLE_SIGNATURE",
        where=directory,
        hint="use a bundle from a trusted signer, or correct the file of signers",
    )


def _ssh_keygen(arguments: List[str], content: bytes) -> Tuple[int, str]:
    """Run ssh-keygen; return its exit status and output (a signature goes to standard output)."""
    program = tools.path_of("ssh-keygen")
    if not program:
        return 1, "ssh-keygen is not installed (package openssh-client)"
    done = tools.run([program, *arguments], content=content)
    return done.status, done.output if done.status == 0 else done.output + done.errors
