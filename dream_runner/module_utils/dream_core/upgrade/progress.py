"""Report the progress of a fast start's upgrade from the host, never from a status file alone.

The program's state file counts only while the process that wrote it is running: each start has an
id (systemd's ``InvocationID``; background.py creates one elsewhere), which the program writes with
its stage. The number of bytes comes from the journal of the partial file.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union, cast

from .. import forms, layout
from ..fetch.disk.partial import partial_progress
from ..files import env_file_write, json_file
from ..system import systemd
from ..types.choice import Choice, ModelFile
from ..types.receipt import PendingFile, PendingUpgrade, Receipts
from ..types.upgrade import UpgradeSeen, UpgradeState

SCHEMA = "dream-runner.upgrade/1"

#: The stages of the program, in their order. ``failed`` is final: the small model stays.
FETCHING, WAITING, TESTING, SWITCHING, RETIRING, FAILED = (
    "fetching",
    "waiting",
    "testing",
    "switching",
    "retiring",
    "failed",
)
#: Stages that come only from the service manager.
STARTING, RESTARTING, STOPPED = "starting", "restarting", "stopped"

#: The program holds this lock from its last check of the receipts until it has finished with the
#: containers.
_PROPERTIES = ("ActiveState", "SubState", "InvocationID")


class Paths:
    """The paths of an upgrade."""

    def __init__(self, install_dir: str) -> None:
        self.folder = os.path.join(install_dir, layout.UPGRADE_FOLDER)
        self.document = os.path.join(self.folder, "upgrade.json")
        self.network = os.path.join(self.folder, "network.env")
        self.state = os.path.join(self.folder, "state.json")
        self.program = os.path.join(self.folder, "upgrade.pyz")
        #: The configuration of a second native engine, while it is running.
        self.trial = os.path.join(self.folder, "trial.json")
        self.models = os.path.join(install_dir, "data", "models")
        self.env_file = os.path.join(install_dir, ".env")

    def side(self, name: str) -> str:
        """Return the file that describes the native engine ``before`` or ``after`` the switch."""
        return os.path.join(self.folder, name + ".json")


def look(
    receipts: Receipts, show: Optional[Callable[[str, str], Dict[str, str]]] = None
) -> Optional[UpgradeSeen]:
    """Return the progress of a pending upgrade, or None if none is pending.

    ``{model, until, stage, why, done_bytes, total_bytes, unit, scope, unit_state}``; ``until`` is
    the model that answers in the meantime. ``show`` queries the service manager; tests replace it.
    """
    wanted = pending(receipts)
    if not wanted:
        return None
    install_dir = str(receipts["models"].get("install_dir") or "")
    paths = Paths(install_dir)
    show = show or (lambda name, scope: show_program(name, scope, paths))
    shown = show(str(wanted["unit"]), str(wanted["scope"]))
    stage, why = stage_of(shown, _read_state(paths))
    done, total = progress(paths.models, wanted["files"])
    return {
        "model": wanted["model"],
        "until": wanted["until"],
        "stage": stage,
        "why": why,
        "done_bytes": done,
        "total_bytes": total,
        "unit": wanted["unit"],
        "scope": wanted["scope"],
        "unit_state": shown.get("ActiveState", ""),
    }


def _read_state(paths: Paths) -> UpgradeState:
    """Return the state that the program wrote; empty if it is missing or invalid."""
    found, _ = json_file.read_json(paths.state)
    return {} if found is None or _STATE(found) else cast("UpgradeState", found)


_STATE = forms.fields(
    {"stage": forms.name, "why": forms.name, "invocation": forms.name},
    {"refused": forms.map_of(forms.text)},
)


def stage_of(shown: Mapping[str, str], said: UpgradeState) -> Tuple[str, str]:
    """Return the stage and its reason, from the service manager's state and the program's file."""
    active = shown.get("ActiveState", "")
    invocation = shown.get("InvocationID", "")
    is_its_own = bool(invocation) and said.get("invocation") == invocation
    if active == "active":
        return (str(said["stage"]), str(said.get("why", ""))) if is_its_own else (STARTING, "")
    if active == "failed":
        if is_its_own and said.get("stage") == FAILED:
            return FAILED, str(said.get("why", ""))
        return FAILED, "its program ended without a message; see its log"
    if active in ("activating", "deactivating", "reloading"):
        return RESTARTING, "its program ended early and is being restarted"
    return STOPPED, "its program is not running"


def progress(models_dir: str, files: Sequence[Union[ModelFile, PendingFile]]) -> Tuple[int, int]:
    """Return the present bytes, and the total (0: unknown)."""
    done = total = 0
    known = True
    for item in files:
        path = os.path.join(models_dir, str(item["file"]))
        size = int(item.get("size_bytes") or 0)
        if os.path.isfile(path):
            here, whole = os.path.getsize(path), os.path.getsize(path)
        else:
            here, whole = partial_progress(path) or (0, 0)
        done += here
        total += size or whole
        known = known and bool(size or whole)
    return done, total if known else 0


def write_env(path: str, managed: Mapping[str, str]) -> None:
    """Set the keys of ``.env`` that describe the model; keep everything else.

    Raises DreamError if the file cannot be read or written.
    """
    env_file_write.settle(
        path, managed=managed, defaults={}, secrets={}, has_data=False, write=True
    )


class _Words(UpgradeSeen):
    """The progress of an upgrade, with the bytes as text."""

    progress: str


def sentence(seen: UpgradeSeen, size: Callable[[int], str]) -> str:
    """Return one or two sentences for people; ``size`` formats bytes."""
    known: _Words = {**seen, "progress": _progress_in_words(seen, size)}
    return _SENTENCES.get(str(seen["stage"]), _loading)(known)


def _progress_in_words(seen: UpgradeSeen, size: Callable[[int], str]) -> str:
    done, total = seen["done_bytes"], seen["total_bytes"]
    if total:
        return " (%d %% of %s)" % (min(100, 100 * done // total), size(total))
    return " (%s so far)" % size(done) if done else ""


def _loading(known: _Words) -> str:
    text = "%(until)s answers now. %(model)s takes over when it is downloaded%(progress)s." % known
    if not known["why"]:
        return text
    if known["stage"] != FETCHING:
        return "%s %s." % (text, _capital(known["why"]))
    return "%s The download is pending: %s. It is retried automatically." % (text, known["why"])


def _failed(known: _Words) -> str:
    return "%(until)s keeps answering. %(model)s does not take its place: %(why)s." % known


def _stopped(known: _Words) -> str:
    return (
        "%(until)s answers until %(model)s is downloaded%(progress)s. The download has stopped: "
        "%(why)s. Run 'dream-runner install' to continue it." % known
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_SENTENCES: Dict[str, Callable[[_Words], str]] = {
    WAITING: lambda known: (
        "%(until)s answers now. %(model)s is downloaded and takes over soon: %(why)s." % known
    ),
    TESTING: lambda known: (
        "%(until)s answers now. %(model)s is downloaded and is being tested." % known
    ),
    SWITCHING: lambda known: "%(model)s is taking over from %(until)s." % known,
    RETIRING: lambda known: "%(model)s answers now; %(until)s is being removed." % known,
    FAILED: _failed,
    STOPPED: _stopped,
}


def show_program(name: str, scope: str, paths: Paths) -> Dict[str, str]:
    """Return the state of the upgrade's program in systemd's terms, with or without systemd."""
    if scope != layout.BACKGROUND:
        return systemd.show(name, scope, _PROPERTIES)
    # Imported here, because only hosts without systemd need it.
    from ..native import background

    shown = background.show(background.Program("", paths.program, paths.document))
    state = _read_state(paths)
    if shown["ActiveState"] == "inactive" and state.get("stage") == FAILED:
        # systemd records a failure; here only the program's own file does.
        return {"ActiveState": "failed", "InvocationID": state["invocation"]}
    return shown


# --- one at a time ----------------------------------------------------------------------


def pending(receipts: Receipts) -> PendingUpgrade:
    """Return the models phase's record of an upgrade, or an empty dictionary."""
    receipt = receipts.get("models") or {}
    if receipt.get("state") == "removed":
        return {}
    found: PendingUpgrade = (receipt.get("facts") or {}).get("upgrade") or {}
    return found


def choice_files(choice: Choice) -> List[ModelFile]:
    """Return every file of an install: those to fetch now, then those of the background upgrade."""
    later = choice.get("upgrade")
    return [*first_files(choice), *(later["model"]["files"] if later else ())]


def first_files(choice: Choice) -> List[ModelFile]:
    """Return the files that the install itself fetches: the model's, then those of the services."""
    return [*choice["model"]["files"], *helper_files(choice)]


def helper_files(choice: Choice) -> List[ModelFile]:
    """Return the files of the helper models that the services read."""
    helpers = (choice.get("stack") or {}).get("models") or ()
    return [file for model in helpers for file in model["files"]]
