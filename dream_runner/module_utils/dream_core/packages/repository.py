"""Add a signed package repository with a pinned key, and test it before it is kept.

A broken repository makes every later update of the host fail, so a repository that cannot be
verified or reached is removed completely.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import List, Mapping, Optional, Sequence

from ..document import TypedDict
from ..errors import DreamError, IntegrityError, NetworkError
from ..fetch.faults import SourceFault
from ..fetch.request import Network, Patience
from ..fetch.sources import page
from ..system import atomic, tools
from ..types.engine import Repository
from .openpgp import binary, fingerprints

_KEY_LIMIT_BYTES = 1024 * 1024
_KEY_PATIENCE_SECONDS = 60
_REFRESH_PATIENCE_SECONDS = 600

#: Messages of apt, dnf and zypper about a wrong signature or digest.
_UNTRUSTED = re.compile(
    r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|not signed|Hash Sum mismatch|weak security"
    r"|signatures were invalid|couldn't be verified|GPG (?:check|signature).*(?:FAILED|fail)"
    r"|unexpected size|Clearsigned file isn't valid",
    re.IGNORECASE,
)


class _File(TypedDict):
    """A file to write."""

    path: str
    content: bytes


def provide(wanted: Repository, environment: Mapping[str, str], write: bool) -> List[str]:
    """Add the repository ``wanted`` (engine_source.repository); return the files that differed.

    Raises IntegrityError if the key or the repository does not match the pinned key.
    """
    key = _present_key(wanted)
    if key is None and not write:
        # A dry run does not contact a server.
        return [wanted["key"], *_differing(wanted["files"])]
    content = key or _fetch_key(wanted, environment)
    files: List[_File] = [{"path": wanted["key"], "content": content}]
    files += [
        {"path": item["path"], "content": item["content"].encode()} for item in wanted["files"]
    ]
    changed = [item["path"] for item in files if _content(item["path"]) != item["content"]]
    if write:
        _bring(wanted, files, environment)
    return changed


def _bring(wanted: Repository, files: List[_File], environment: Mapping[str, str]) -> None:
    before = {item["path"]: _content(item["path"]) for item in files}
    try:
        for item in files:
            if before[item["path"]] != item["content"]:
                os.makedirs(os.path.dirname(item["path"]), exist_ok=True)
                atomic.write_bytes(item["path"], item["content"], 0o644)
        prove(wanted, environment)
    except BaseException:
        for path, content in before.items():
            _restore(path, content)
        raise


def _restore(path: str, content: Optional[bytes]) -> None:
    if content is not None:
        atomic.write_bytes(path, content, 0o644)
    elif os.path.lexists(path):
        os.unlink(path)


def _differing(files: Sequence[Mapping[str, str]]) -> List[str]:
    return [item["path"] for item in files if _content(item["path"]) != item["content"].encode()]


def _content(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def _present_key(wanted: Repository) -> Optional[bytes]:
    """Return the key on this host if it is the pinned one."""
    content = _content(wanted["key"])
    try:
        return content if content and _is_pinned(content, wanted) else None
    except ValueError:
        return None


def _is_pinned(content: bytes, wanted: Repository) -> bool:
    return set(fingerprints(content)) <= set(wanted["fingerprints"])


def _fetch_key(wanted: Repository, environment: Mapping[str, str]) -> bytes:
    """Download and verify the signing key; return it in the form for the package manager."""
    content = download(wanted["key_url"], environment)
    try:
        offered = fingerprints(content)
    except ValueError as error:
        raise _wrong_key(wanted, str(error)) from error
    if not _is_pinned(content, wanted):
        raise _wrong_key(wanted, "it has %s" % ", ".join(offered))
    # Keep only the verified part: there could be anything around an armoured block.
    return binary(content) if wanted["kind"] == "apt" else content


def _wrong_key(wanted: Repository, why: str) -> IntegrityError:
    return IntegrityError(
        "the key at %s is not the pinned %s: %s"
        % (wanted["key_url"], ", ".join(wanted["fingerprints"]), why),
        code="REPOSITORY_KEY",
        where=wanted["key_url"],
        hint="nothing was added to this host; if the publisher announced a new key, update "
        "dream-runner, otherwise do not trust the address or the network",
    )


def download(url: str, environment: Mapping[str, str]) -> bytes:
    """Return the content of a small file, such as a key. Raises NetworkError."""
    network = Network.from_environment(environment)
    try:
        answer = page.read(url, network, Patience(), "*/*", _KEY_LIMIT_BYTES, _KEY_PATIENCE_SECONDS)
        return answer.content
    except SourceFault as fault:
        raise NetworkError(
            "the signing key at %s cannot be downloaded: %s" % (url, fault.what),
            code=fault.code,
            where=url,
            hint="check the connection or the proxy, then run again",
        ) from fault


def prove(wanted: Repository, environment: Mapping[str, str]) -> None:
    """Read the lists of only this repository, which verifies its signature."""
    try:
        done = tools.run(
            _refresh(wanted),
            _REFRESH_PATIENCE_SECONDS,
            environment=dict(environment, LC_ALL="C"),
            joined=True,
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkError(
            "the repository %s does not answer" % wanted["url"],
            code="STALLED",
            where=wanted["url"],
            hint="check the connection or the proxy, then run again",
        ) from error
    if done.status:
        raise _unproved(wanted, done.output.strip())


def _refresh(wanted: Repository) -> List[str]:
    if wanted["kind"] == "apt":
        options = {
            "Dir::Etc::sourcelist": wanted["files"][0]["path"],
            "Dir::Etc::sourceparts": "-",
            # Keep the lists of the other repositories.
            "APT::Get::List-Cleanup": "0",
            # An old list must not replace one that cannot be verified.
            "APT::Update::Error-Mode": "any",
            "DPkg::Lock::Timeout": "300",
        }
        words = [word for pair in options.items() for word in ("-o", "%s=%s" % pair)]
        return ["apt-get", "-q", *words, "update"]
    name = "dream-runner-%s" % wanted["name"]
    return ["dnf", "-y", "--refresh", "--disablerepo=*", "--enablerepo=" + name, "makecache"]


def _unproved(wanted: Repository, said: str) -> DreamError:
    lines = [line for line in said.splitlines() if re.match(r"(?i)e:|err|w:|error", line)]
    why = "; ".join(lines or said.splitlines()[-3:])
    if _UNTRUSTED.search(said):
        return IntegrityError(
            "the repository %s cannot be verified: %s" % (wanted["url"], why),
            code="REPOSITORY_UNTRUSTED",
            where=wanted["url"],
            hint="nothing was added to this host; do not trust the address or the network",
        )
    return NetworkError(
        "the repository %s cannot be read: %s" % (wanted["url"], why),
        code="REPOSITORY_UNREADABLE",
        where=wanted["url"],
        hint="check the connection or the proxy, then run again",
    )
