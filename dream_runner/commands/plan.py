"""``dream-runner plan``: what install would do, and why. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import resume, target
from ..module_utils.dream_core.phases import PHASES
from ..plan import Choice, Download, Plan
from ..settings import Given
from ..ui import text


def run(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    *,
    force: bool = False,
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan for this machine and the lines to say with it; write nothing."""
    said = target.listen(flags, answers_file, environment)
    known = target.meet(said, fresh=False, save=False)
    before = resume.read(known.receipts)
    resume.refuse_second(before, known.settings["install_dir"], force)
    notes = known.notes
    if before.is_open:
        notes += (resume.sentence(before, *target.model_progress(known)),)
    return target.plan_of(known), notes


def as_json(plan: Plan, notes: tuple[str, ...]) -> dict[str, Any]:
    """Return the plan as the data that ``--json`` prints."""
    return {**plan.to_dict(), "notes": list(notes)}


def as_text(plan: Plan) -> str:
    """Return the plan for a person: the answers to what, why, how much and with which rights."""
    lines = [f"Install into {plan.install_dir}", ""]
    lines += ["Choices:", *_choices(plan.choices), ""]
    lines += ["Phases:", *_phases(plan), ""]
    lines += _amounts(plan)
    return "\n".join(lines)


def _choices(choices: tuple[Choice, ...]) -> list[str]:
    wide = max(len(item.name) for item in choices)
    values = [_words(item.value) for item in choices]
    broad = min(40, max(map(len, values)))
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
    """Return a line a phase; a run of phases with the same reason takes one line."""
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
    lines = [f"Download:    {_download(item)}" for item in plan.downloads]
    about = "about " if plan.is_estimate else ""
    lines += [f"Disk:        {about}{text.size(plan.fetch_bytes)} for the model"]
    lines += [f"Packages:    {', '.join(plan.packages) or 'none'}"]
    lines += [f"As root:     {action}" for action in plan.privileged] or ["As root:     nothing"]
    lines += [f"Listens on:  {port}" for port in plan.ports]
    return lines


def _download(item: Download) -> str:
    if item.total_bytes is None:
        amount = "exact size unknown"
    elif item.missing_bytes == 0:
        amount = f"{text.size(item.total_bytes)}, all there"
    else:
        amount = text.size(item.total_bytes)
        if item.present_bytes:
            amount += f", {text.percent(item.present_bytes, item.total_bytes)} there"
    return f"{item.what} ({amount}) from {item.source}"


def summary(plan: Plan) -> str:
    """Return in one line whether anything is to be done."""
    due = [step for step in plan.steps if step.is_due]
    if not due:
        return "Nothing to do: everything is as it was made."
    rest = "" if len(due) == len(plan.steps) else ", the others are as they were made"
    return f"{text.plural(len(due), 'phase')} to do{rest}."
