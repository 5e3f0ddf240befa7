"""The cached facts document: used while it is certainly valid, otherwise gathered again.

The cache is never trusted blindly. If anything is wrong with it, the facts are gathered again and
one line gives the reason.
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

#: How many seconds in the future the time of the cache may be.
_CLOCK_SLACK = 300

#: The fields that readers rely on; a document without them is not used.
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

    ``why`` is one line if the cache is unusable or could not be written, else empty. Problems with
    the cache never raise an error.
    """
    now = time.time()
    mark = fingerprint()
    document, why = _cached(os.path.join(state_dir, FILE_NAME), force)
    if document is not None:
        reason = _outdated(document, version, install_dir, mark, now, max_age_seconds)
        if reason is None:
            return document, {"source": "cache", "why": ""}
        why = "the saved hardware facts are not used: %s" % reason
    # Imported here, because Ansible compiles imports in every call and a cached answer does not
    # need this module.
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
    """Return why a file of another user is not trusted, or None."""
    try:
        owner = os.lstat(path).st_uid
        home = os.lstat(os.path.dirname(path)).st_uid
    except OSError as error:
        return "the file cannot be examined (%s)" % error.strerror
    # Root may run for the user who owns this state.
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
    """Add the digest of its content to a document.

    A flipped bit can leave valid JSON with a wrong field name or value.
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
    """Return why a valid document does not describe this run, or None."""
    stamp = document["gathered_at"] or ""
    age = _age(stamp, now)
    if age is None or age < -_CLOCK_SLACK:
        return "their time is not plausible (%s)" % stamp[:40]
    if age > max_age_seconds:
        return "they are %d hours old" % (age // 3600)
    if document.get("version") != version:
        return "they are from version %s" % str(document.get("version"))[:40]
    if document.get("install_dir") != install_dir:
        return "they are for another install directory (%s)" % document.get("install_dir")
    if document["fingerprint"] != mark:
        return "the machine has changed since (boot, kernel, devices, drivers or memory)"
    return None


def _age(stamp: str, now: float) -> Optional[float]:
    """Return the age in seconds of a time in UTC, or None if it is not a time.

    ``strptime`` is not used: it loads the locale, which takes longer than everything else.
    """
    try:
        moment = datetime.datetime.fromisoformat(stamp[:-1] if stamp.endswith("Z") else "")
        return now - moment.replace(tzinfo=datetime.timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None


def _save(state_dir: str, document: Facts) -> str:
    """Write the cache; return a warning instead of raising, because the run has its facts."""
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        json_file.write_json(os.path.join(state_dir, FILE_NAME), document, mode=0o600)
    except (DreamError, OSError) as error:
        return "the hardware facts could not be saved (%s)" % error
    return ""
