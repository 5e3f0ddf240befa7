"""``dream-runner install``: plan, confirm, save, run. Also resumes, repairs and changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import wording
from ..decide import webui
from ..decide.plan import Plan, Step
from ..machine import pins, privilege, resume, target
from ..module_utils.dream_core.checks import finding, needed_size, versions
from ..module_utils.dream_core.errors import DreamError, Interrupted
from ..module_utils.dream_core.health import access, serving
from ..module_utils.dream_core.records import inputs
from ..module_utils.dream_core.records.receipt import read_all
from ..module_utils.dream_core.types.receipt import PhaseFacts
from ..module_utils.dream_core.types.upgrade import UpgradeSeen
from ..module_utils.dream_core.upgrade import progress as upgrade
from ..report import record
from ..run import history, offline_guard
from ..run.ansible import execute
from ..run.events import Event, Notice, PhaseFinished
from ..run.journal import Journal
from ..run.processes import ctrl_c, lock
from ..run.request import Request, Result, new_run_id
from ..settings import answers
from ..settings.values import Given, as_ansible_vars
from ..ui import Listener, terminal
from . import bundle
from . import plan as plan_command


@dataclass(frozen=True)
class Options:
    """Options of this run only. They are never saved."""

    wish: resume.Wish = field(default_factory=resume.Wish)
    full: bool = False
    verify: bool = False
    locked: bool = False


@dataclass(frozen=True)
class InstallOutcome:
    """How an install ended. ``summary`` holds the facts of the last phase."""

    run_id: str
    run_dir: Path
    result: Result
    seconds: float
    summary: PhaseFacts
    upgrade: UpgradeSeen | None = None

    @property
    def error(self) -> DreamError | None:
        """Return why it failed, or None."""
        return self.result.error


def follow(request: Request, listener: Listener, said: Collection[str] = ()) -> Result:
    """Run the playbook; write each event to the journal, then show it.

    The run examines the host again. Notices in ``said`` were shown before and are not repeated.
    """
    with Journal(request.run_dir) as journal:

        def take(event: Event) -> None:
            journal.take(event)
            if not (isinstance(event, Notice) and event.text in said):
                listener.take(event)

        with ctrl_c.announced(lambda text: listener.note(text, "warning")):
            result = execute(request, take)
    _show_warning(journal.warning, listener)
    return result


def run(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    options: Options,
    listener: Listener,
    *,
    follow: Callable[..., Result] = follow,
) -> InstallOutcome:
    """Install, continue, repair or change. Raises a DreamError if it cannot start."""
    began = time.monotonic()
    said = target.read_settings(flags, answers_file, environment, save=True)
    if said.settings["bundle"]:
        # Check the signature before the bundle's content is used.
        bundle.look(str(said.settings["bundle"]), bundle.trusted(environment))
    with lock.hold(said.state_dir, "dream-runner install", _warn(listener)):
        lock.clear_leftovers(said.state_dir, listener.note)
        history.sweep(Path(said.state_dir))
        known, start = _examine(said, options, listener)
        if _is_up_to_date(known):
            if _model_responds(known):
                return _unchanged_outcome(known, listener, began)
            known = target.with_silent_engine(known)
            listener.note("the model did not respond; restarting its engine", "warning")
        pins.require(known.choice, known.unpinned, locked=options.locked)
        _refuse_data_changes(known)
        plan = target.plan_of(known)
        for note in plan.port_notes:
            listener.note(note)
        may_ask = not (options.wish.yes or options.wish.force) and terminal.is_present()
        session = known.host["session"]
        privilege.require_possible_root(
            plan.privileged, plan.root_commands, session, may_ask=may_ask
        )
        if not start.asked and may_ask:
            known = _confirm(known, plan, full=options.full or start.fresh)
            plan = target.plan_of(known)
        password = privilege.become_password(
            plan.privileged, plan.root_commands, session, terminal.password, terminal.say
        )
        for item in plan.pinned:
            listener.note(f"pinned now: {item['image']} {item['digest']}")
        pins.record(known.pinned)
        _show_warning(answers.save(said.state_dir, said.settings), listener)
        return _execute(known, start, options, password, listener, follow)


def _refuse_data_changes(known: target.Target) -> None:
    """Refuse new versions that permanently change data unless the user has accepted that."""
    found = versions.findings(known.choice["data_changes"], known.settings["install_dir"])
    error = finding.error_of(found, known.settings["accept"])
    if error:
        raise error


def _forget_acceptance(known: target.Target, listener: Listener) -> None:
    """Remove the acceptance of a migration: the next one must be accepted again."""
    if inputs.ACCEPT in known.settings["accept"]:
        settings = known.settings.without("accept", inputs.ACCEPT)
        _show_warning(answers.save(known.state_dir, settings), listener)


def preview(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    options: Options,
) -> tuple[Plan, tuple[str, ...]]:
    """Return what ``run`` would do, for ``--dry-run``; write nothing."""
    return plan_command.run(
        flags,
        answers_file,
        environment,
        options.wish,
        full=options.full,
        verify=options.verify,
        locked=options.locked,
    )


def _warn(listener: Listener) -> Callable[[str], None]:
    return lambda text: listener.note(text, "warning")


def _show_warning(warning: str | None, listener: Listener) -> None:
    if warning:
        listener.note(warning, "warning")


def _examine(
    said: target.MergedSettings, options: Options, listener: Listener
) -> tuple[target.Target, resume.Start]:
    """Examine the host and ask the user whether to continue or to start over."""
    wish = options.wish
    receipts, _ = read_all(said.state_dir)
    before = resume.read(receipts)
    install_dir = said.settings["install_dir"]
    resume.refuse_second(before, install_dir, wish.force)
    known = target.observe(
        said,
        fresh=wish.fresh or wish.force,
        full=options.full,
        verify=options.verify,
        save=True,
        locked=options.locked,
    )
    for note in known.notes:
        listener.note(note, "warning")
    line = ""
    if before.is_open:
        line = resume.sentence(before, *target.model_progress(known))
    start = resume.begin(before, install_dir, wish, terminal.ask, terminal.say, line)
    for note in start.notes:
        listener.note(note)
    # Plan, question and report must describe the run that will really happen.
    return target.started_over(known) if start.fresh else known, start


def _is_up_to_date(known: target.Target) -> bool:
    """Tell whether no phase is due: same inputs, and every resource is as recorded."""
    return not any(reason.is_due for reason in known.reasons.values())


#: A large model that was swapped out is slow to produce the first token.
_ANSWER_SECONDS = 120.0


def _model_responds(known: target.Target) -> bool:
    """Tell whether the model answers a question now."""
    return bool(serving.ask(known.receipts, _ANSWER_SECONDS).get("answers"))


def _unchanged_outcome(known: target.Target, listener: Listener, began: float) -> InstallOutcome:
    """Return the outcome of a run in which no phase was due.

    Ansible is not started: the host was just examined and the model has just answered.
    """
    _show_warning(answers.save(known.state_dir, known.settings), listener)
    _forget_acceptance(known, listener)
    run_id = new_run_id()
    run_dir = history.directory(Path(known.state_dir), run_id)
    with Journal(run_dir) as journal:
        for phase, reason in known.reasons.items():
            event = PhaseFinished(time.time(), "localhost", phase, "unchanged", 0, 0.0, reason.why)
            journal.take(event)
    _show_warning(journal.warning, listener)
    facts = known.receipts["summary"]["facts"]
    steps = [Step(phase, *reason) for phase, reason in known.reasons.items()]
    record.planned(run_dir, known.host["facts"], known.choice, steps)
    pending = upgrade.look(known.receipts)
    if pending:
        listener.note(upgrade.sentence(pending, wording.size))
    result, seconds = Result(0, False, None), time.monotonic() - began
    return _with_report(InstallOutcome(run_id, run_dir, result, seconds, facts, pending))


def _with_report(outcome: InstallOutcome) -> InstallOutcome:
    record.ended(outcome.run_dir, "install", as_json(outcome))
    return outcome


def _confirm(known: target.Target, plan: Plan, *, full: bool) -> target.Target:
    """Show the plan and ask; return the target, with Open WebUI if the user added it."""
    offer = target.webui_offer(known)
    terminal.say(plan_command.summary(plan))
    terminal.say(_short_plan(plan))
    while True:
        if offer:
            terminal.say(_offered(offer))
        more = (webui.NAME,) if offer else ()
        answer = terminal.ask("Go ahead?", ("y", "n", "explain", *more), "y")
        if answer == "y":
            return known
        if answer == webui.NAME:
            known, offer = target.with_webui(known, full=full), 0
            plan = target.plan_of(known)
            terminal.say(_short_plan(plan))
        elif answer == "explain":
            terminal.say(plan_command.as_text(plan))
        else:
            raise Interrupted("cancelled; nothing was changed", code="DECLINED")


def _offered(size_bytes: int) -> str:
    return (
        "Optional:    Open WebUI, a chat application with accounts, history, documents and"
        f" dictation, beside the engine's own page ({wording.size(size_bytes)} to download,"
        f" {wording.size(needed_size.WEBUI_MB << 20)} of disk,"
        f" {wording.size(needed_size.WEBUI_MEMORY_MB << 20)} of memory)."
        f" Answer '{webui.NAME}' to add it."
    )


def _short_plan(plan: Plan) -> str:
    lines = plan_command.as_text(plan).split("\n\n")[-1]
    return f"Into:        {plan.install_dir}\n{lines}"


def _execute(
    known: target.Target,
    start: resume.Start,
    options: Options,
    password: str | None,
    listener: Listener,
    follow: Callable[..., Result],
) -> InstallOutcome:
    run_id = new_run_id()
    run_dir = history.directory(Path(known.state_dir), run_id)
    began = time.monotonic()
    plan = target.plan_of(known)
    record.planned(run_dir, known.host["facts"], known.choice, plan.steps, plan)
    with offline_guard.armed(bool(known.settings["offline"])) as trap:
        request = Request(
            playbook="install",
            variables={
                **as_ansible_vars(known.settings),
                "dream_state_dir": known.state_dir,
                "dream_fresh": start.fresh,
                "dream_full": options.full or start.fresh,
                "dream_force": options.wish.force,
                "dream_verify": options.verify,
                "dream_unanswered": known.is_silent,
                "dream_size_hints": target.size_hints(known),
            },
            run_id=run_id,
            run_dir=run_dir,
            become_password=password,
            environment=trap.environment,
        )
        result = follow(request, listener, said=known.notes)
    if trap.error and not result.interrupted:
        # It is the cause of any other error.
        result = replace(result, error=trap.error)
    if result.error is None:
        _forget_acceptance(known, listener)
    receipts, _ = read_all(known.state_dir)
    facts = receipts.get("summary", {}).get("facts", {}) if result.error is None else {}
    seconds = time.monotonic() - began
    return _with_report(
        InstallOutcome(run_id, run_dir, result, seconds, facts, upgrade.look(receipts))
    )


def as_json(outcome: InstallOutcome) -> dict[str, Any]:
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
        "upgrade": dict(outcome.upgrade) if outcome.upgrade else None,
    }


def as_text(outcome: InstallOutcome) -> str:
    """Return the end screen of a successful install: the result and the addresses."""
    pending = upgrade.sentence(outcome.upgrade, wording.size) if outcome.upgrade else ""
    lines = [_changed(outcome.result), f"Ready in {wording.elapsed(outcome.seconds)}."]
    found = access.of(outcome.summary)
    if found:
        lines += access.lines(found, pending)
    elif pending:
        lines.append(f"  In the background  {pending}")
    lines.append("'dream-runner status' shows the state; 'dream-runner install' repairs it.")
    paste = wording.path_line()
    if paste:
        lines += ["To add dream-runner to your PATH, run:", f"  {paste}"]
    return "\n".join(lines)


def _changed(result: Result) -> str:
    if not result.ok:
        return "Everything is up to date."
    changes = wording.plural(result.changed, "change") if result.changed else "nothing to change"
    return f"Done: {changes} ({wording.plural(result.ok, 'check')} and tasks)."
