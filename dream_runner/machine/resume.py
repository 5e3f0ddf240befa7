"""Whether there is an install to continue, in which words to say so, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .. import wording
from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.records.receipt import directory_of, next_phase
from ..module_utils.dream_core.types.receipt import Receipts

Ask = Callable[[str, Sequence[str], str], str | None]


@dataclass(frozen=True)
class Before:
    """The install that the receipts tell of; ``state`` is absent, finished, interrupted or failed.

    ``phase`` is the first one not known to be done; ``begun`` tells whether it
    had started.
    """

    state: str
    install_dir: str = ""
    phase: str = ""
    begun: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether an install was begun and not finished."""
        return self.state in ("interrupted", "failed")


@dataclass(frozen=True)
class Wish:
    """What the flags of this run say about an earlier install."""

    yes: bool = False
    resume: bool = False
    fresh: bool = False
    force: bool = False


@dataclass(frozen=True)
class Start:
    """How to begin: anew or not, and the lines to say; ``asked`` tells that a person agreed."""

    fresh: bool
    notes: tuple[str, ...] = ()
    asked: bool = False


def read(receipts: Receipts) -> Before:
    """Return what the receipts of the host say about an earlier install."""
    # An uninstall keeps the receipts of what it was told to keep.
    live = {name: item for name, item in receipts.items() if item["state"] != "removed"}
    if not live:
        return Before("absent")
    phase = next_phase(live)
    install_dir = directory_of(live)
    state = live.get(phase, {}).get("state") if phase else None
    # A report that could not be written ends an install all the same.
    if phase is None or (phase, state) == ("summary", "failed"):
        return Before("finished", install_dir)
    kind = "failed" if state == "failed" else "interrupted"
    return Before(kind, install_dir, phase, begun=state is not None)


def sentence(before: Before, done: int = 0, total: int = 0) -> str:
    """Say where an unfinished install stopped, and how much of its model is there if not all."""
    number = PHASES.index(before.phase) + 1
    verb = "failed in" if before.state == "failed" else "stopped in"
    if not before.begun:
        verb = "stopped before"
    line = f"An install of {before.install_dir} {verb} phase {number} of {len(PHASES)}"
    line += f" ({before.phase})"
    if 0 < done < total:
        line += f", {wording.percent(done, total)} of {wording.size(total)}"
    return line + "."


def refuse_second(before: Before, install_dir: str, force: bool) -> None:
    """Raise UsageError when a finished install stands in another directory."""
    if before.state != "finished" or force or _same(before.install_dir, install_dir):
        return
    raise UsageError(
        f"dream-runner is already installed in {before.install_dir}",
        code="INSTALLED_ELSEWHERE",
        where=f"install_dir {install_dir}",
        hint=f"use --install-dir {before.install_dir}, uninstall it first, or add --force",
    )


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


_EXPLANATION = """\
  y  continue: what is done is checked on the host, not believed; what is missing is made.
     Bytes that were fetched and verified are not fetched again.
  n  begin anew: the hardware is looked at again and every phase runs.
     Verified bytes, secrets and the record of what was made are kept all the same.
  Ctrl-C changes nothing."""


def begin(
    before: Before, install_dir: str, wish: Wish, ask: Ask, say: Callable[[str], None], line: str
) -> Start:
    """Decide how to begin; ask a person only where one can answer.

    ``line`` is the sentence about an unfinished install. Where nobody is asked,
    for want of a terminal or because of ``--yes``, it begins anew unless
    ``--resume`` was given: an install is never resumed silently.
    """
    if wish.fresh or wish.force:
        return Start(fresh=True)
    if before.state != "absent" and not _same(before.install_dir, install_dir):
        note = f"the earlier install was of {before.install_dir}; looking at everything anew"
        return Start(fresh=True, notes=(note,))
    if not before.is_open:
        return Start(fresh=False)
    if wish.resume:
        return Start(fresh=False, notes=(line, "Continuing."))
    return _ask(ask, say, wish, line)


def _ask(ask: Ask, say: Callable[[str], None], wish: Wish, line: str) -> Start:
    while True:
        answer = None if wish.yes else ask(f"{line} Continue?", ("y", "n", "explain"), "y")
        if answer == "explain":
            say(_EXPLANATION)
            continue
        if answer is None:
            note = "Nobody was asked: beginning anew, keeping verified bytes (--resume continues)."
            return Start(fresh=True, notes=(line, note))
        return Start(fresh=answer == "n", asked=answer == "y")
