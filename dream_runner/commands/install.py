"""``dream-runner install``: plan, agree, save, run. Again is how to resume, repair and change."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import answers, lock, privilege, resume, runs, stopping, target
from ..events import Event, Notice
from ..journal import Journal
from ..module_utils.dream_core.errors import DreamError, Interrupted
from ..module_utils.dream_core.receipt import read_all
from ..plan import Plan
from ..run import Request, Result, execute, new_run_id
from ..settings import Given, as_ansible_vars
from ..ui import Listener, terminal
from . import plan as plan_command


@dataclass(frozen=True)
class Options:
    """What holds for this run only and is never saved."""

    wish: resume.Wish = field(default_factory=resume.Wish)
    full: bool = False
    verify: bool = False


@dataclass(frozen=True)
class Outcome:
    """How an install ended; ``summary`` is what the last phase found on the host."""

    run_id: str
    run_dir: Path
    result: Result
    seconds: float
    summary: Mapping[str, Any]

    @property
    def error(self) -> DreamError | None:
        """Return why it did not succeed, or None."""
        return self.result.error


def run(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    options: Options,
    listener: Listener,
) -> Outcome:
    """Install, continue, repair or change; raise a DreamError where it cannot begin."""
    said = target.listen(flags, answers_file, environment)
    with lock.hold(said.state_dir, "dream-runner install", _warn(listener)):
        lock.clear_leftovers(said.state_dir, listener.note)
        runs.sweep(Path(said.state_dir))
        known, start = _meet(said, options.wish, listener)
        plan = target.plan_of(known)
        if not start.asked:
            _agree(plan, options.wish)
        password = _password(plan, known)
        _keep(answers.save(said.state_dir, said.settings), listener)
        outcome = _execute(known, start, options, password, listener)
        if outcome.error is None:
            _keep(answers.mark_applied(said.state_dir, said.settings), listener)
        return outcome


def preview(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    options: Options,
) -> tuple[Plan, tuple[str, ...]]:
    """Return what ``run`` would do, for ``--dry-run``; write nothing."""
    return plan_command.run(flags, answers_file, environment, force=options.wish.force)


def _warn(listener: Listener) -> Callable[[str], None]:
    return lambda text: listener.note(text, "warning")


def _keep(warning: str | None, listener: Listener) -> None:
    if warning:
        listener.note(warning, "warning")


def _meet(
    said: target.Said, wish: resume.Wish, listener: Listener
) -> tuple[target.Target, resume.Start]:
    """Look at the host, and settle with the person whether to continue or to begin anew."""
    receipts, _ = read_all(said.state_dir)
    before = resume.read(receipts)
    install_dir = said.settings["install_dir"]
    resume.refuse_second(before, install_dir, wish.force)
    known = target.meet(said, fresh=wish.fresh or wish.force, save=True)
    for note in known.notes:
        listener.note(note, "warning")
    line = ""
    if before.is_open:
        line = resume.sentence(before, *target.model_progress(known))
    start = resume.begin(before, install_dir, wish, terminal.ask, terminal.say, line)
    for note in start.notes:
        listener.note(note)
    return known, start


def _agree(plan: Plan, wish: resume.Wish) -> None:
    """Show the plan and ask, where a person is there to answer."""
    if wish.yes or wish.force or not terminal.is_present():
        return
    terminal.say(plan_command.summary(plan))
    terminal.say(_short(plan))
    while True:
        answer = terminal.ask("Go ahead?", ("y", "n", "explain"), "y")
        if answer == "y":
            return
        if answer != "explain":
            raise Interrupted("not started; nothing was changed", code="DECLINED")
        terminal.say(plan_command.as_text(plan))


def _short(plan: Plan) -> str:
    lines = plan_command.as_text(plan).split("\n\n")[-1]
    return f"Into:        {plan.install_dir}\n{lines}"


def _password(plan: Plan, known: target.Target) -> str | None:
    return privilege.become_password(
        plan.privileged,
        plan.root_commands,
        known.host["session"],
        terminal.password,
    )


def _execute(
    known: target.Target,
    start: resume.Start,
    options: Options,
    password: str | None,
    listener: Listener,
) -> Outcome:
    run_id = new_run_id()
    run_dir = runs.directory(Path(known.state_dir), run_id)
    request = Request(
        playbook="install",
        variables={
            **as_ansible_vars(known.settings),
            "dream_state_dir": known.state_dir,
            "dream_fresh": start.fresh,
            "dream_full": options.full or start.fresh,
            "dream_force": options.wish.force,
            "dream_verify": options.verify,
        },
        run_id=run_id,
        run_dir=run_dir,
        become_password=password,
    )
    began = time.monotonic()
    result = follow(request, listener, said=known.notes)
    receipts, _ = read_all(known.state_dir)
    facts = receipts.get("summary", {}).get("facts", {}) if result.error is None else {}
    return Outcome(run_id, run_dir, result, time.monotonic() - began, facts)


def follow(request: Request, listener: Listener, said: Collection[str] = ()) -> Result:
    """Run the playbook with its events in the journal first, then on the screen.

    The run looks at the host once more; what was ``said`` already is not repeated.
    """
    with Journal(request.run_dir) as journal:

        def take(event: Event) -> None:
            journal.take(event)
            if not (isinstance(event, Notice) and event.text in said):
                listener.take(event)

        with stopping.announced(lambda text: listener.note(text, "warning")):
            result = execute(request, take)
    _keep(journal.warning, listener)
    return result


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as the data that ``--json`` prints."""
    result, error = outcome.result, outcome.error
    return {
        "outcome": "done" if error is None else "interrupted" if result.interrupted else "failed",
        "exit_code": error.exit_code if error else 0,
        "error": error.to_dict() if error else None,
        "run_id": outcome.run_id,
        "log": str(outcome.run_dir / "log.txt"),
        "seconds": round(outcome.seconds, 1),
        "tasks": {
            "ok": result.ok,
            "changed": result.changed,
            "failed": result.failed,
            "skipped": result.skipped,
        },
        "summary": dict(outcome.summary),
    }


def as_text(outcome: Outcome) -> str:
    """Return the end of a successful install: what changed and where it answers."""
    result = outcome.result
    changed = f"{result.changed} changed" if result.changed else "nothing had to change"
    lines = [f"Done in {outcome.seconds:.0f} s: {changed} ({result.ok} checks and tasks)."]
    urls = outcome.summary.get("urls")
    if isinstance(urls, dict):
        lines += [f"  {name}: {url}" for name, url in urls.items()]
    lines += ["Ask 'dream-runner status' at any time; 'dream-runner install' again repairs."]
    return "\n".join(lines)
