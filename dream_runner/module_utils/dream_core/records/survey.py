"""Compare a host with its receipts, and report the drift.

``observe`` returns the state of one resource as plain data; the receipt of a finished phase keeps
it. ``drift`` observes it again and describes the differences. Cheap checks come first: a file's
content is read only if its size, time or inode differs, a model's only if its stamp is not valid.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..resources.kind import GLANCE, LOOK, READ, name_of
from ..resources.observed_host import Host
from ..resources.registry import observe
from ..types.receipt import Receipts
from ..types.resource import Resource, Seen


def survey(receipts: Receipts, verify: bool = False) -> Dict[str, List[Dict[str, str]]]:
    """Return ``{phase: [{what, found}]}`` for every phase with a receipt.

    An empty list means that everything that the phase made is unchanged.
    """
    host = Host(item for receipt in receipts.values() for item in receipt.get("resources", []))
    return {
        phase: [
            line
            for item in receipt.get("resources", [])
            for line in [drift(item, host, verify)]
            if line
        ]
        for phase, receipt in receipts.items()
    }


def drift(resource: Resource, host: Host, verify: bool = False) -> Optional[Dict[str, str]]:
    """Return ``{what, found}`` if a resource differs from its receipt, else None.

    ``verify`` reads every file, whatever its size and time are.
    """
    if resource.get("coming"):
        # Our unit creates and removes it later.
        return None
    before = resource.get("seen")
    if before is None or before.get("unknown"):
        return {"what": name_of(resource), "found": "unknown when its phase ended"}
    if not verify:
        glance = observe(resource, host, GLANCE)
        if glance.get("unknown"):
            return {
                "what": name_of(resource),
                "found": "this user cannot access the container engine",
            }
        if glance == {key: before.get(key) for key in glance}:
            return None
    found = difference(resource, before, observe(resource, host, READ if verify else LOOK))
    return {"what": name_of(resource), "found": found} if found else None


def difference(resource: Resource, before: Seen, now: Seen) -> str:
    """Describe the first difference that matters; empty if there is none."""
    if before["present"] != now["present"]:
        if now["present"] and resource["kind"] == "port":
            return ""  # It opened after the end of its phase, as expected.
        return "missing" if before["present"] else "present (was missing)"
    # Compare the type first: the mode of a link means nothing.
    for key in sorted(set(before) | set(now), key=lambda name: (name != "type", name)):
        if key in _VOLATILE or (resource.get("volatile") and key in ("sha256", "size_bytes")):
            continue
        if before.get(key) != now.get(key):
            return _changed(key, before.get(key), now.get(key))
    return ""


#: The states of systemd, supervisord and container engines, in common words.
_STATES = {
    **dict.fromkeys(("active", "RUNNING", "running", "reloading"), "running"),
    **dict.fromkeys(("inactive", "STOPPED", "EXITED", "stopped", "exited", "dead"), "stopped"),
    **dict.fromkeys(("activating", "STARTING", "BACKOFF", "restarting"), "restarting"),
    **dict.fromkeys(("failed", "FATAL"), "failed"),
}


def state_in_words(state: str) -> str:
    """Return ``running``, ``stopped``, ``restarting``, ``failed``, or the state itself."""
    return _STATES.get(state, state)


def _changed(key: str, before: Any, now: Any) -> str:
    """Describe a changed value."""
    if key == "active":
        words = state_in_words(str(now)), state_in_words(str(before))
        # If two states have the same word, show their own names.
        return "%s (was %s)" % (words if words[0] != words[1] else (now, before))
    if key == "sha256":
        return "sha256 changed: was %s, now %s" % (_short(before), _short(now))
    return "%s is %s, was %s" % (key, now, before)


def _short(digest: Any) -> str:
    text = str(digest)
    return text[:12] + "..." if len(text) == 64 else text


#: Fields that only decide whether the content must be read.
_VOLATILE = ("mtime_ns", "ctime_ns", "inode")
