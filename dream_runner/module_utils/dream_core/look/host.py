"""Inspect a host: collect everything that a run needs for its decisions."""

from __future__ import annotations

import contextlib
import os
from typing import Dict, List

from ..facts.cache import load_or_gather
from ..fetch.disk.partial import partial_progress
from ..network import listeners
from ..records import receipt, survey
from ..system.account import gather_session
from ..types.look import Look
from ..types.receipt import Receipts


def look(
    *,
    state_dir: str,
    install_dir: str,
    version: str,
    bundle: str = "",
    force: bool = False,
    full: bool = False,
    verify: bool = False,
    save: bool = True,
) -> Look:
    """Return facts, session, receipts, drift, listeners (ours are marked) and present models.

    ``bundled`` are the digests of the files in the directory ``bundle``.

    ``force`` gathers the facts again despite the cache; ``full`` skips the drift, because every
    phase will run; ``verify`` reads every file to find drift; ``save`` False writes nothing.
    ``notes`` in the result are lines for the user.
    """
    receipts, warnings = receipt.read_all(state_dir)
    install_dir = os.path.expanduser(place_of(install_dir, receipts))
    facts, origin = load_or_gather(
        state_dir, version, install_dir=install_dir, force=force, save=save
    )
    return {
        "install_dir": install_dir,
        "facts": facts,
        "facts_source": origin["source"],
        "session": gather_session(),
        "receipts": receipts,
        "drift": {} if full else survey.survey(receipts, verify=verify),
        # A recorded process id may belong to another program by now; an argument below the install
        # directory identifies ours.
        "listeners": listeners.listeners(own_paths=[install_dir]),
        "bundled": bundled(bundle),
        "held": held(os.path.join(install_dir, "data", "models")),
        "notes": [line for line in [origin.get("why", "")] if line] + warnings,
    }


#: The default install directory; a test compares it with the setting.
DEFAULT_INSTALL_DIR = "~/ai-server"


def place_of(install_dir: str, receipts: Receipts) -> str:
    """Return the install directory: an existing installation overrides the default.

    Older versions had another default; their installations stay in place.
    """
    if install_dir != DEFAULT_INSTALL_DIR:
        return install_dir
    return receipt.directory_of(receipts) or install_dir


def bundled(directory: str) -> List[str]:
    """Return the sha256 of each file in a bundle, complete or in parts; the fetch verifies them."""
    found = set()
    if directory:
        with contextlib.suppress(OSError):
            names = os.listdir(os.path.join(os.path.expanduser(directory), "blobs", "sha256"))
            found = {name.split(".")[0] for name in names}
    return sorted(found)


def held(directory: str) -> Dict[str, int]:
    """Return the present bytes of each model file; of a partial file under ``NAME.part``."""
    found: Dict[str, int] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if entry.name.endswith(".part"):
                progress = partial_progress(entry.path[: -len(".part")])
                found[entry.name] = progress[0] if progress else 0
            elif entry.is_file(follow_symlinks=False):
                found[entry.name] = entry.stat().st_size
    return found
