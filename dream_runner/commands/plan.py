"""``dream-runner plan``: show what install would do, and why. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import wording
from ..decide.plan import ChoiceRow, Download, Plan
from ..machine import resume, target
from ..module_utils.dream_core.checks import versions
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.records import inputs
from ..settings.values import Given
from ..ui import terminal

#: Maximum width of the column of values. A longer value shifts only its own line.
_BROAD = 24
_UNKNOWN = "size unknown"
_NOTHING = "nothing (the model is already downloaded)"


def run(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    wish: resume.Wish | None = None,
    *,
    full: bool = False,
    verify: bool = False,
    locked: bool = False,
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan for this machine and its notes; write nothing.

    An unfinished install is planned as ``install`` would handle it: continued with ``--resume`` or
    if a user could be asked (the default answer is yes), otherwise started over.
    Raises SettingsError, or UsageError INSTALLED_ELSEWHERE.
    """
    wish = wish or resume.Wish()
    said = target.read_settings(flags, answers_file, environment)
    begun_anew = wish.fresh or wish.force
    known = target.observe(
        said, fresh=begun_anew, full=full, verify=verify, save=False, locked=locked
    )
    before = resume.read(known.receipts)
    install_dir = known.settings["install_dir"]
    resume.refuse_second(before, install_dir, wish.force)
    line = resume.sentence(before, *target.model_progress(known)) if before.is_open else ""
    start = resume.begin(before, install_dir, wish, _default_answer, lambda words: None, line)
    if start.fresh:
        known = target.started_over(known)
    said_before = start.notes or ((line,) if line else ())
    return target.plan_of(known), (*known.notes, *said_before)


def _default_answer(question: str, answers: Sequence[str], default: str) -> str | None:
    """Answer for the user whom install would ask; None if there is no terminal."""
    return default if terminal.is_present() else None


def as_json(plan: Plan, notes: tuple[str, ...]) -> dict[str, Any]:
    """Return the plan as the data that ``--json`` prints."""
    return {**plan.to_dict(), "notes": list(notes)}


def as_text(plan: Plan) -> str:
    """Return the plan as text: choices, phases, sizes and required privileges."""
    lines = [f"Install into {plan.install_dir}", ""]
    lines += ["Choices:", *_choices(plan.choices), ""]
    lines += ["Phases:", *_phases(plan), ""]
    lines += _amounts(plan)
    return "\n".join(lines)


def _choices(choices: tuple[ChoiceRow, ...]) -> list[str]:
    wide = max(len(item.name) for item in choices)
    values = [_words(item.value) for item in choices]
    # One long value, such as a digest, must not push all reasons off the screen.
    broad = max((len(value) for value in values if len(value) <= _BROAD), default=_BROAD)
    return [
        f"  {item.name:{wide}}  {value:{broad}}  {item.origin}"
        + (f": {item.why}" if item.why else "")
        for item, value in zip(choices, values, strict=True)
    ]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _phases(plan: Plan) -> list[str]:
    """Return a line per phase; consecutive phases with the same reason share a line."""
    lines: list[str] = []
    group: list[str] = []
    for number, step in enumerate(plan.steps, start=1):
        group.append(step.phase)
        following = plan.steps[number] if number < len(plan.steps) else None
        if following and (following.why, following.detail) == (step.why, step.detail):
            continue
        reason = f"{step.why}: {step.detail}" if step.detail else step.why
        first = number - len(group) + 1
        span = f"{first}-{number}" if len(group) > 1 else str(number)
        lines.append(f"  {span:>5} of {len(PHASES)}  {', '.join(group)}: {reason}")
        group = []
    return lines


def _amounts(plan: Plan) -> list[str]:
    coming = [item for item in plan.downloads if item.missing_bytes != 0]
    lines = [f"Download:    {_download(item)}" for item in coming]
    lines += [f"To download: {_to_fetch(plan) if coming else _NOTHING}"]
    lines += [f"Then, in the background:  {_download(item)}" for item in plan.later]
    lines += _images(plan)
    lines += [f"Pinned now:  {item['image']} {item['digest']}" for item in plan.pinned]
    lines += [f"Data:        {_data_change(item)}" for item in plan.data_changes]
    lines += [f"Downloaded later:  {item}" for item in plan.own_fetches]
    lines += [f"Disk:        {_filesystem(item)}" for item in plan.disk] or ["Disk:        none"]
    lines += [f"Packages:    {', '.join(plan.packages) or 'none'}"]
    lines += [f"As root:     {action}" for action in plan.privileged] or ["As root:     nothing"]
    lines += [f"Listens on:  {port}" for port in plan.ports]
    lines += [f"Note:        {note}" for note in plan.port_notes]
    lines += [f"Open to:     {plan.open_to}"] if plan.open_to else []
    lines += [f"Runs as:     {_units(plan)}"]
    again = ", ".join(plan.restarts)
    lines += [f"Restarts:    {again} (only if changed)" if again else "Restarts:    nothing"]
    return lines


def _to_fetch(plan: Plan) -> str:
    if plan.is_estimate and not plan.fetch_bytes:
        return f"the model ({_UNKNOWN})"
    about = "about " if plan.is_estimate else ""
    what = "files" if any("packages)" in item.what for item in plan.downloads) else "model files"
    return f"{about}{wording.size(plan.fetch_bytes)} of {what}"


def _images(plan: Plan) -> list[str]:
    """Return a line for each missing image, and one line for all available images."""
    here = [item for item in plan.images if item["present"]]
    lines = [f"Image:       {_image(item)}" for item in plan.images if not item["present"]]
    return lines + ([f"Images:      {len(here)} already available"] if here else [])


def _image(item: Mapping[str, Any]) -> str:
    amount = "size unknown" if item["bytes"] is None else wording.size(item["bytes"])
    source = "" if item["source"] == "unknown" else f" from the {item['source']}"
    pinned = "" if item["reference"] else f", not pinned yet: dream-runner lock {item['image']}"
    return f"{item['image']} ({amount}{pinned}){source}"


def _data_change(item: Mapping[str, Any]) -> str:
    move = versions.sentence(item)
    if item["kind"] == versions.DOWNGRADE:
        return f"{move}: refused, because the older version cannot read the data"
    if item["accepted"]:
        return f"{move} permanently changes its data (accepted)"
    return f"{move} permanently changes its data: needs --accept {inputs.ACCEPT}"


def _filesystem(item: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{part['what']} {wording.size(part['bytes'])}" for part in item["parts"])
    free = "" if item["free_bytes"] is None else f", {wording.size(item['free_bytes'])} free"
    where = item["mount"] or "an unknown filesystem"
    return f"about {wording.size(item['needed_bytes'])} on {where} ({parts}){free}"


def _units(plan: Plan) -> str:
    scopes: dict[str, list[str]] = {}
    for item in plan.units:
        scopes.setdefault(item["scope"], []).append(item["name"])
    return "; ".join(f"{', '.join(names)} ({scope})" for scope, names in scopes.items())


def _download(item: Download) -> str:
    if item.total_bytes is None:
        amount = _UNKNOWN
    elif item.missing_bytes == 0:
        amount = f"{wording.size(item.total_bytes)}, already downloaded"
    else:
        amount = wording.size(item.total_bytes)
        if item.present_bytes:
            amount += f", {wording.percent(item.present_bytes, item.total_bytes)} downloaded"
    return f"{item.what} ({amount}) from {item.source}"


def summary(plan: Plan) -> str:
    """Return one line: the number of steps to run, or that everything is up to date."""
    due = [step for step in plan.steps if step.is_due]
    if not due:
        return "Everything is up to date."
    rest = len(plan.steps) - len(due)
    done = f"; {rest} {'is' if rest == 1 else 'are'} already done" if rest else ""
    return f"{wording.plural(len(due), 'step')} to run{done}."
