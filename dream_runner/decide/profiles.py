"""Choose the profile of an installation: with or without containers.

Pure. ``native`` runs the engine without containers; ``full`` runs the stack in containers.
The native engine uses the CPU only, so a usable GPU needs containers.
"""

from __future__ import annotations

from ..module_utils.dream_core.profiles import AUTO, FULL, NATIVE, current_name
from ..module_utils.dream_core.types.facts import Facts
from ..module_utils.dream_core.types.host import Session
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.settings import SettingValues
from .features import FEATURES


def resolve(
    settings: SettingValues,
    facts: Facts,
    session: Session,
    receipts: Receipts,
) -> tuple[str, str]:
    """Return the profile (``native`` or ``full``) and the reason.

    An existing installation keeps its profile unless the user names another one.
    """
    wanted = current_name(str(settings["profile"]))
    if wanted != AUTO:
        return wanted, "chosen by the user"
    known = installed(receipts)
    if known:
        return known, "already installed"
    # Features run in containers, so turning one on requires them.
    feature = next((name for name in FEATURES if settings.get(name) in ("yes", True)), "")
    if feature:
        return FULL, f"{feature} runs in containers"
    backend = str(facts["backend"])
    if backend == "cpu":
        return NATIVE, "no usable GPU was found, and the CPU engine needs no containers"
    if not _can_have_containers(session):
        return NATIVE, "containers need root for their setup, and this user cannot become root"
    return FULL, f"the {backend} GPU can only be used through containers"


def installed(receipts: Receipts) -> str:
    """Return the installed profile, or an empty string."""
    receipt = receipts.get("features") or {}
    if receipt.get("state") == "removed":
        return ""
    name = current_name(str((receipt.get("facts") or {}).get("profile") or ""))
    return name if name in (NATIVE, FULL) else ""


def _can_have_containers(session: Session) -> bool:
    may_become_root = session["is_root"] or session["sudo"] != "none"
    return bool(may_become_root or session.get("has_containers"))
