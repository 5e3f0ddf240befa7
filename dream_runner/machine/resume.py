"""Decide whether to continue an existing install or to start over."""

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
    """The install in the receipts; ``state`` is absent, finished, interrupted or failed.

    ``phase`` is the first phase that is not done; ``begun`` tells whether it had started.
    """

    state: str
    install_dir: str = ""
    phase: str = ""
    begun: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether an install was started and not finished."""
        return self.state in ("interrupted", "failed")


@dataclass(frozen=True)
class Wish:
    """The flags of this run that concern an earlier install."""

    yes: bool = False
    resume: bool = False
    fresh: bool = False
    force: bool = False


@dataclass(frozen=True)
class Start:
    """How to begin: start over or not, and notes to show; ``asked``: the user has confirmed."""

    fresh: bool
    notes: tuple[str, ...] = ()
    asked: bool = False


def read(receipts: Receipts) -> Before:
    """Return the state of an earlier install according to the receipts."""
    # An uninstall keeps the receipts of phases whose resources it keeps.
    live = {name: item for name, item in receipts.items() if item["state"] != "removed"}
    if not live:
        return Before("absent")
    phase = next_phase(live)
    install_dir = directory_of(live)
    state = live.get(phase, {}).get("state") if phase else None
    # An install is finished even if its summary could not be written.
    if phase is None or (phase, state) == ("summary", "failed"):
        return Before("finished", install_dir)
    kind = "failed" if state == "failed" else "interrupted"
    return Before(kind, install_dir, phase, begun=state is not None)


def sentence(before: Before, done: int = 0, total: int = 0) -> str:
    """Return a sentence: where an install stopped, and how much of its model is downloaded."""
    number = PHASES.index(before.phase) + 1
    verb = "failed in" if before.state == "failed" else "stopped in"
    if not before.begun:
        verb = "stopped before"
    line = f"An install in {before.install_dir} {verb} phase {number} of {len(PHASES)}"
    line += f" ({before.phase})"
    if 0 < done < total:
        line += f", {wording.percent(done, total)} of {wording.size(total)}"
    return line + "."


def refuse_second(before: Before, install_dir: str, force: bool) -> None:
    """Raise UsageError if there is a finished install in another directory."""
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
  y       continue: check what is done, and do the rest.
          Finished downloads are kept.
  n       start over: detect the hardware again and run every phase.
          Finished downloads, secrets and the records of the install are kept.
  Ctrl-C  cancel; nothing is changed."""


def begin(
    before: Before, install_dir: str, wish: Wish, ask: Ask, say: Callable[[str], None], line: str
) -> Start:
    """Decide whether to continue or to start over; ask only on a terminal.

    ``line`` is the sentence about an unfinished install. Without a question (no terminal, or
    ``--yes``) the install starts over unless ``--resume`` is given: an install is never
    resumed silently.
    """
    if wish.fresh or wish.force:
        return Start(fresh=True)
    if before.state != "absent" and not _same(before.install_dir, install_dir):
        note = f"the earlier install was in {before.install_dir}; checking everything again"
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
            note = "Starting over; finished downloads are kept. Use --resume to continue instead."
            return Start(fresh=True, notes=(line, note))
        return Start(fresh=answer == "n", asked=answer == "y")
