"""``dream-runner uninstall``: remove what the receipts list, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..module_utils.dream_core.errors import DreamError, Interrupted, UsageError
from ..module_utils.dream_core.records.receipt import read_all
from ..module_utils.dream_core.system.account import gather_session
from ..module_utils.dream_core.undo.uninstall import remove
from ..paths import default_state_dir
from ..report import record
from ..run import history
from ..run.processes import lock
from ..run.request import Request, Result, new_run_id
from ..ui import Listener, terminal
from . import install


@dataclass(frozen=True)
class Removal:
    """What is removed, in reverse order of creation, and what stays; one line of text each."""

    install_dir: str
    remove: tuple[str, ...]
    restore: tuple[str, ...]
    keep: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class UninstallOutcome:
    """How an uninstall ended."""

    removal: Removal
    result: Result | None
    run_dir: Path | None
    seconds: float = 0.0

    @property
    def error(self) -> DreamError | None:
        """Return why it failed, or None."""
        return self.result.error if self.result else None


def plan(state_dir: str, home: str, *, purge: bool) -> Removal:
    """Return what an uninstall would do, from the code that does it."""
    receipts, _ = read_all(state_dir)
    found = remove(state_dir, home, purge=purge, dry=True)
    directories = {str(item.get("install_dir") or "") for item in receipts.values()} - {""}
    return Removal(
        install_dir=", ".join(sorted(directories)),
        remove=tuple(found["removed"]),
        restore=tuple(found["restored"]),
        keep=tuple(found["kept"]),
        left=tuple(found["left"]),
    )


def run(
    environment: Mapping[str, str], listener: Listener, *, purge: bool, yes: bool, dry_run: bool
) -> UninstallOutcome:
    """Show what would be removed, ask, and remove it. Raises UsageError if nothing is installed."""
    state_dir = default_state_dir(environment)
    if not _is_known(state_dir, purge):
        raise UsageError(
            "nothing is installed for this user",
            code="NOT_INSTALLED",
            where=state_dir,
            hint="run this as the user who installed",
        )
    removal = plan(state_dir, gather_session()["home"], purge=purge)
    if dry_run:
        return UninstallOutcome(removal, None, None)
    with lock.hold(state_dir, "dream-runner uninstall", listener.note):
        lock.clear_leftovers(state_dir, listener.note)
        _confirm(removal, yes=yes)
        outcome = _execute(state_dir, removal, listener, purge=purge)
        if purge and outcome.error is None and not read_all(state_dir)[0]:
            _forget(Path(state_dir))
        return outcome


#: Files that may be left in the state directory. With any other file, the directory stays.
_LAST = ("lock",)


def _forget(state_dir: Path) -> None:
    """Remove the state directory with the journals of past runs. The caller holds the lock."""
    with contextlib.suppress(OSError):
        shutil.rmtree(state_dir / "runs")
        for name in _LAST:
            (state_dir / name).unlink()
        state_dir.rmdir()


def _is_known(state_dir: str, purge: bool) -> bool:
    """Tell whether there is anything to remove, including the rest of an interrupted purge."""
    if purge:
        return os.path.isdir(state_dir)
    with contextlib.suppress(OSError):
        return bool(os.listdir(os.path.join(state_dir, "receipts")))
    return False


def _confirm(removal: Removal, *, yes: bool) -> None:
    """Ask before removing. Without a terminal, ``--yes`` is required."""
    if yes:
        return
    if not terminal.is_present():
        raise UsageError(
            "cannot ask for confirmation: there is no terminal",
            code="NOT_CONFIRMED",
            hint="add --yes, or use --dry-run to see what would be removed",
        )
    terminal.say(as_text(UninstallOutcome(removal, None, None)))
    if terminal.ask("Remove all this?", ("y", "n"), "n") != "y":
        raise Interrupted("cancelled; nothing was changed", code="DECLINED")


def _execute(
    state_dir: str, removal: Removal, listener: Listener, *, purge: bool
) -> UninstallOutcome:
    run_id = new_run_id()
    request = Request(
        playbook="uninstall",
        variables={"dream_state_dir": state_dir, "dream_purge": purge},
        run_id=run_id,
        run_dir=history.directory(Path(state_dir), run_id),
    )
    began = time.monotonic()
    result = install.follow(request, listener)
    outcome = UninstallOutcome(removal, result, request.run_dir, time.monotonic() - began)
    # A purge also removes the folder of its own run.
    if not purge:
        record.ended(request.run_dir, "uninstall", as_json(outcome))
    return outcome


def as_json(outcome: UninstallOutcome) -> dict[str, Any]:
    """Return the outcome as the data that ``--json`` prints."""
    error = outcome.error
    return {
        "outcome": "planned" if outcome.result is None else "failed" if error else "done",
        "exit_code": error.exit_code if error else 0,
        "error": error.to_dict() if error else None,
        "install_dir": outcome.removal.install_dir,
        "remove": list(outcome.removal.remove),
        "restore": list(outcome.removal.restore),
        "keep": list(outcome.removal.keep),
        "left": list(outcome.removal.left),
    }


def as_text(outcome: UninstallOutcome) -> str:
    """Return what would be or was removed, and what stays."""
    done = outcome.result is not None
    lines = [
        *_section("Removed" if done else "Would remove", outcome.removal.remove),
        *_section("Restored" if done else "Would restore", outcome.removal.restore),
        *_section("Kept" if done else "Would keep", outcome.removal.keep),
        *_section("Cannot be removed", outcome.removal.left),
    ]
    return "\n".join(lines) or "There is nothing to remove."


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []
