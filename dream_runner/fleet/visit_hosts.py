"""Visit all hosts of a fleet in one Ansible run; an up-to-date host needs one task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..machine import resume
from ..module_utils.dream_core import printable
from ..module_utils.dream_core.errors import DreamError, UsageError
from ..run import host_answers
from ..run.ansible import execute_among_others
from ..run.events import Event, TaskFinished
from ..run.journal import Journal
from ..run.task_errors import error_of_task
from .seen import Seen
from .session import Fleet
from .ssh_errors import explained

#: Longer texts are cut: no module of ours sends them.
_LONGEST_TEXT = 10_000


@dataclass(frozen=True)
class Options:
    """How to visit. With ``save`` False, nothing is written on any host.

    ``try_become`` tests the sudo password now.
    """

    save: bool = True
    fresh: bool = False
    full: bool = False
    verify: bool = False
    force: bool = False
    install_python: bool = False
    try_become: bool = False


Found = Mapping[str, Seen | DreamError]


def at(
    fleet: Fleet,
    names: Iterable[str],
    options: Options,
    forks: int,
    on_event: Callable[[Event], None],
) -> dict[str, Seen | DreamError]:
    """Return what was observed on each host, or why it failed."""
    chosen = list(names)
    answers = fleet.run_dir / "answers"
    answers.mkdir(mode=0o700, parents=True, exist_ok=True)
    errors: dict[str, DreamError] = {}

    def take(event: Event) -> None:
        if isinstance(event, TaskFinished) and event.status in ("failed", "unreachable"):
            errors.setdefault(event.host, error_of_task(event))
        on_event(event)

    request = fleet.request(
        "fleet_survey",
        chosen,
        fleet.run_dir,
        _variables(options, answers, fleet),
        forks=forks,
        check=not options.save,
    )
    with Journal(fleet.run_dir) as journal:
        result = execute_among_others(request, _both(journal.take, take), fleet.caller)
    found = {
        name: explained(errors[name], fleet, name)
        if name in errors
        else read_answer(fleet, name, answers, result.error, options)
        for name in chosen
    }
    return without_twins(found)


def without_twins(found: Mapping[str, Seen | DreamError]) -> dict[str, Seen | DreamError]:
    """Return ``found`` with an error for each host that is the same account as an earlier one."""
    first: dict[str, str] = {}
    checked: dict[str, Seen | DreamError] = {}
    for name, seen in found.items():
        account = str(seen.document.get("account", "")) if isinstance(seen, Seen) else ""
        known = first.setdefault(account, name) if account else name
        checked[name] = seen if known == name else _same_account(known)
    return checked


def _same_account(known: str) -> UsageError:
    return UsageError(
        f"this is the same account on the same machine as {known}",
        code="HOST_TWICE",
        hint="remove one of the two names from the inventory",
    )


def _both(
    first: Callable[[Event], None], second: Callable[[Event], None]
) -> Callable[[Event], None]:
    def take(event: Event) -> None:
        first(event)
        second(event)

    return take


def _variables(options: Options, answers: Path, fleet: Fleet) -> dict[str, Any]:
    given = fleet.passwords.become is not None
    return {
        "dream_fresh": options.fresh,
        "dream_full": options.full or options.fresh,
        "dream_verify": options.verify,
        "dream_fleet_answers": str(answers),
        "dream_fleet_install_python": options.install_python,
        "dream_fleet_try_become": [
            host.name
            for host in fleet.hosts.values()
            if options.try_become and (given or host.has_become_password)
        ],
    }


def read_answer(
    fleet: Fleet, name: str, answers: Path, problem: DreamError | None, options: Options
) -> Seen | DreamError:
    """Return what a host answered, or the error that explains why it did not."""
    path = answers / (quote(name, safe="") + ".json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return problem or DreamError(
            "the host was not checked",
            code="HOST_NOT_SEEN",
            hint="see the log of the run for the reason",
        )
    seen = Seen(name, fleet.settings[name], without_controls(document))
    try:
        seen.validate()
        refuse_places(seen, options)
    except DreamError as error:
        return error
    except host_answers.NONSENSE as error:
        return host_answers.garbage(error)
    return seen


def without_controls(value: Any) -> Any:
    """Return the answer of a host with control characters removed from all texts."""
    if isinstance(value, dict):
        return {without_controls(key): without_controls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_controls(item) for item in value]
    return printable.line(value, _LONGEST_TEXT) if isinstance(value, str) else value


def refuse_places(seen: Seen, options: Options) -> None:
    """Check the settings that only the host can resolve."""
    install_dir = seen.places()["dream_install_dir"]
    if install_dir == seen.document["home"]:
        raise UsageError(
            f"{install_dir} is the home directory of the login user",
            code="INSTALL_DIR_REFUSED",
            hint="choose a separate directory, for example ~/dream-runner",
        )
    resume.refuse_second(seen.before, install_dir, options.force)


def due_of(found: Found) -> list[Seen]:
    """Return the hosts that need changes."""
    return [seen for seen in found.values() if isinstance(seen, Seen) and seen.is_due]


def failed_of(found: Found) -> dict[str, DreamError]:
    """Return the hosts that failed, with the errors."""
    return {name: item for name, item in found.items() if isinstance(item, DreamError)}
