"""Re-check a host against its receipts: what still holds, and what drifted.

``observe`` looks at one resource and returns plain data; the receipt of a done
phase keeps what was seen then. ``drift`` looks again and says, in words, where
the two differ. Cheap looks first: a file's content is read only where size,
time or inode differ, a model's only where its stamp does not vouch for it.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..resources.kind import GLANCE, LOOK, READ, name_of
from ..resources.observed_host import Host
from ..resources.registry import observe
from ..types.receipt import Receipts
from ..types.resource import Resource, Seen


def survey(receipts: Receipts, verify: bool = False) -> Dict[str, List[Dict[str, str]]]:
    """Return ``{phase: [{what, found}]}`` for every phase that has a receipt.

    An empty list means that everything the phase made still holds.
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
    """Return ``{what, found}`` when the host no longer shows what the receipt saw.

    ``verify`` reads every file whatever its size and time say.
    """
    if resource.get("coming"):
        # A unit of ours makes it, and takes it away, in its own time.
        return None
    before = resource.get("seen")
    if before is None or before.get("unknown"):
        return {"what": name_of(resource), "found": "not looked at when its phase ended"}
    if not verify:
        glance = observe(resource, host, GLANCE)
        if glance.get("unknown"):
            return {"what": name_of(resource), "found": "the engine refuses this user"}
        if glance == {key: before.get(key) for key in glance}:
            return None
    found = difference(resource, before, observe(resource, host, READ if verify else LOOK))
    return {"what": name_of(resource), "found": found} if found else None


def difference(resource: Resource, before: Seen, now: Seen) -> str:
    """Return the first difference that matters, in words; empty when there is none."""
    if before["present"] != now["present"]:
        if now["present"] and resource["kind"] == "port":
            return ""  # It opened after its phase had ended, as is wanted.
        return "missing" if before["present"] else "there although it was not"
    # What it is comes before how it is: a link's mode says nothing.
    for key in sorted(set(before) | set(now), key=lambda name: (name != "type", name)):
        if key in _VOLATILE or (resource.get("volatile") and key in ("sha256", "size_bytes")):
            continue
        if before.get(key) != now.get(key):
            return _changed(key, before.get(key), now.get(key))
    return ""


#: What systemd, supervisord and container engines call the same things.
_STATES = {
    **dict.fromkeys(("active", "RUNNING", "running", "reloading"), "running"),
    **dict.fromkeys(("inactive", "STOPPED", "EXITED", "stopped", "exited", "dead"), "stopped"),
    **dict.fromkeys(("activating", "STARTING", "BACKOFF", "restarting"), "starting again"),
    **dict.fromkeys(("failed", "FATAL"), "failed"),
}


def state_in_words(state: str) -> str:
    """Return ``running``, ``stopped``, ``starting again``, ``failed``, or the state itself."""
    return _STATES.get(state, state)


def _changed(key: str, before: Any, now: Any) -> str:
    """Return in words that a value is another one."""
    if key == "active":
        words = state_in_words(str(now)), state_in_words(str(before))
        # Two names for one state are told apart by the names.
        return "%s (was %s)" % (words if words[0] != words[1] else (now, before))
    if key == "sha256":
        return "sha256 changed: was %s, now %s" % (_short(before), _short(now))
    return "%s is %s, was %s" % (key, now, before)


def _short(digest: Any) -> str:
    text = str(digest)
    return text[:12] + "..." if len(text) == 64 else text


#: Seen only to know whether a closer look is due.
_VOLATILE = ("mtime_ns", "ctime_ns", "inode")
