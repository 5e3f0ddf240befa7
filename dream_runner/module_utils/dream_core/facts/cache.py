"""The facts document on disk: used while it is surely still true, gathered anew else.

The file is a hint and never an authority. Whatever is wrong with it, the
answer is a fresh look at the machine and one line that says why.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from typing import Any, Dict, Optional, Tuple

from ..errors import DreamError
from ..files import json_file
from ..types.facts import Facts
from .fingerprint import fingerprint
from .probe_system import gather
from .schema import SCHEMA

FILE_NAME = "facts.json"

_TIME = "%Y-%m-%dT%H:%M:%SZ"

#: Seconds by which a clock may run back before a file from the future is refused.
_CLOCK_SLACK = 300

#: What every later reader relies on; a document without it is none of ours.
_SHAPE = {
    "os": dict,
    "arch": str,
    "init": dict,
    "cpu": dict,
    "memory": dict,
    "mounts": list,
    "gpus": list,
    "links": list,
    "backend": str,
    "findings": list,
    "gathered_at": str,
    "fingerprint": str,
}


def load_or_gather(
    state_dir: str,
    version: str,
    install_dir: str = "",
    max_age_seconds: int = 86400,
    force: bool = False,
    save: bool = True,
) -> Tuple[Facts, Dict[str, str]]:
    """Return ``(document, {"source": "cache"|"gathered", "why": text})``.

    ``why`` is one line where there is something to say (an unusable cache, one
    that could not be written), else empty. Never raises for the cache's sake.
    """
    now = time.time()
    mark = fingerprint()
    document, why = _cached(os.path.join(state_dir, FILE_NAME), force)
    if document is not None:
        reason = _outdated(document, version, install_dir, mark, now, max_age_seconds)
        if reason is None:
            return document, {"source": "cache", "why": ""}
        why = "the saved hardware facts are not used: %s" % reason
    # Here and not above: Ansible compiles what it imports at every call, and a cached
    # answer needs none of the judgement.
    from .interpret import interpret

    document = seal(
        {
            **interpret(gather()),
            "gathered_at": time.strftime(_TIME, time.gmtime(now)),
            "fingerprint": mark,
            "version": version,
            "install_dir": install_dir,
        }
    )
    trouble = _save(state_dir, document) if save else ""
    return document, {"source": "gathered", "why": "; ".join(t for t in (why, trouble) if t)}


def _cached(path: str, force: bool) -> Tuple[Optional[Facts], str]:
    if force:
        return None, ""
    content, why = json_file.read_json(path)
    problem = why if content is None else _foreign(path) or _malformed(content)
    if problem:
        return None, "the saved hardware facts are not used: %s" % problem
    return content, ""


def _foreign(path: str) -> Optional[str]:
    """Return why a file that somebody else made is not ours to believe."""
    try:
        owner = os.lstat(path).st_uid
        home = os.lstat(os.path.dirname(path)).st_uid
    except OSError as error:
        return "the file cannot be examined (%s)" % error.strerror
    # Root may run for the user whose state this is.
    trusted = (0, os.geteuid()) if os.geteuid() else (0, home)
    return None if owner in trusted else "the file belongs to user %d" % owner


def _malformed(content: Any) -> Optional[str]:
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        return "their schema is %s, this version writes %s" % (str(schema)[:40], SCHEMA)
    wrong = [name for name, kind in _SHAPE.items() if not isinstance(content.get(name), kind)]
    if not wrong and not all(isinstance(gpu, dict) for gpu in content["gpus"]):
        wrong = ["gpus"]
    if wrong:
        return "they lack %s" % ", ".join(wrong)
    return None if seal(content)["digest"] == content.get("digest") else "their digest is wrong"


def seal(document: Facts) -> Facts:
    """Return a document with the digest of its content.

    A flipped bit may leave valid JSON behind, with a field that nobody knows in
    the place of one that everybody reads.
    """
    content = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True)
    return {**document, "digest": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def _outdated(
    document: Facts,
    version: str,
    install_dir: str,
    mark: str,
    now: float,
    max_age_seconds: int,
) -> Optional[str]:
    """Return why a sound document does not describe this run, or None."""
    stamp = document["gathered_at"] or ""
    age = _age(stamp, now)
    if age is None or age < -_CLOCK_SLACK:
        return "their time is not plausible (%s)" % stamp[:40]
    if age > max_age_seconds:
        return "they are %d hours old" % (age // 3600)
    if document.get("version") != version:
        return "they are from version %s" % str(document.get("version"))[:40]
    if document.get("install_dir") != install_dir:
        return "they are of another install directory (%s)" % document.get("install_dir")
    if document["fingerprint"] != mark:
        return "the machine has changed since (boot, kernel, devices, drivers or memory)"
    return None


def _age(stamp: str, now: float) -> Optional[float]:
    """Return the age in seconds of a time in UTC, or None for what is no time.

    Not by ``strptime``: it loads the locale, for longer than all the rest takes.
    """
    try:
        moment = datetime.datetime.fromisoformat(stamp[:-1] if stamp.endswith("Z") else "")
        return now - moment.replace(tzinfo=datetime.timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None


def _save(state_dir: str, document: Facts) -> str:
    """Write the cache; return a warning instead of raising, because facts in hand are enough."""
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        json_file.write_json(os.path.join(state_dir, FILE_NAME), document, mode=0o600)
    except (DreamError, OSError) as error:
        return "the hardware facts could not be saved (%s)" % error
    return ""
