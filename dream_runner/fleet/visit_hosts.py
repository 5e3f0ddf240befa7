"""Look at all hosts of a fleet: one Ansible run, one task a host that is in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..decide import fast_start
from ..decide.plan import Step
from ..machine import resume
from ..module_utils.dream_core import printable
from ..module_utils.dream_core.errors import DreamError, UsageError
from ..run import host_answers
from ..run.ansible import execute_among_others
from ..run.events import Event, TaskFinished
from ..run.journal import Journal
from ..run.task_errors import error_of_task
from ..settings.merge import Settings
from .session import Fleet
from .ssh_errors import explained

#: A longer text is none that a host of ours says.
_LONGEST_TEXT = 10_000


@dataclass(frozen=True)
class Options:
    """How to look: ``save`` False writes nothing on any host.

    ``try_become`` lets sudo say now what it thinks of the password that is there.
    """

    save: bool = True
    fresh: bool = False
    full: bool = False
    verify: bool = False
    force: bool = False
    install_python: bool = False
    try_become: bool = False


@dataclass(frozen=True)
class Seen:
    """What a host is and what it needs; ``document`` is all that its survey found."""

    name: str
    settings: Settings
    document: Mapping[str, Any]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the phases, each with the reason to run it or not."""
        reasons = self.document["decided"]["reasons"]
        return tuple(Step(phase, *reason) for phase, reason in reasons.items())

    @property
    def is_due(self) -> bool:
        """Tell whether a phase has something to do, or the model does not answer."""
        return any(step.is_due for step in self.steps) or not self.answers

    @property
    def needs_model(self) -> bool:
        """Tell whether the model's files are to be looked after."""
        return any(step.phase == "models" and step.is_due for step in self.steps)

    @property
    def choice(self) -> Mapping[str, Any]:
        """Return what was decided for the host."""
        choice: Mapping[str, Any] = self.document["decided"]["choice"]
        return choice

    @property
    def receipts(self) -> Mapping[str, Any]:
        """Return the host's receipts."""
        receipts: Mapping[str, Any] = self.document["context"]["receipts"]
        return receipts

    @property
    def before(self) -> resume.Before:
        """Return the install that the host's receipts tell of."""
        return resume.read(self.receipts)

    @property
    def answers(self) -> bool:
        """Tell whether the model has just answered."""
        return bool(self.document["engine"]["answers"])

    @property
    def drift(self) -> list[str]:
        """Return what differs from what was made, in words; unfinished phases made nothing yet."""
        found = {
            phase: items
            for phase, items in self.document["context"]["drift"].items()
            if self.receipts[phase]["state"] == "done"
        }
        return [
            f"{item['what']} of phase {phase}: {item['found']}"
            for phase, items in found.items()
            for item in items
        ]

    @property
    def sudo(self) -> str:
        """Return how the login user becomes root: root, passwordless, password or none."""
        return str(self.document["decided"]["session"]["sudo"])

    @property
    def needs_root(self) -> bool:
        """Tell whether the work there needs root."""
        if not self.is_due:
            return False
        is_native = self.choice["profile"] == "native"
        supervisor = self.choice["supervisor"]
        return (
            (is_native and not self.document["loads_engine"])
            or (is_native and supervisor == "systemd-user" and not self.document["lingers"])
            or (not is_native and self.receipts.get("docker", {}).get("state") != "done")
        )

    @property
    def missing_bytes(self) -> int:
        """Return the bytes of the model that are still to come; unknown sizes count as none."""
        present = self.document["present"]
        return sum(
            max(0, int(item.get("size_bytes") or 0) - int(present.get(item["file"], 0)))
            for item in fast_start.first_files(self.choice)
        )

    @property
    def free_bytes(self) -> int | None:
        """Return what is free where the install is; None if the host would not say."""
        free = self.document["filesystem"]["free_bytes"]
        return None if free is None else int(free)

    @property
    def interpreter(self) -> str:
        """Return the host's Python."""
        return str(self.document["interpreter"])

    def prove(self) -> None:
        """Ask everything once: a host that answers nonsense fails here, and by itself."""
        for name in dir(type(self)):
            if isinstance(getattr(type(self), name), property):
                getattr(self, name)
        self.places()

    @property
    def engine(self) -> Mapping[str, str]:
        """Return the engine's address, and why it gave no answer."""
        engine = self.document["engine"]
        return {"url": str(engine["url"]), "why": str(engine["why"])}

    def places(self) -> dict[str, str]:
        """Return the paths as the host resolved them."""
        return {
            "dream_install_dir": str(self.document["install_dir"]),
            "dream_state_dir": str(self.document["state_dir"]),
        }


Found = Mapping[str, Seen | DreamError]


def at(
    fleet: Fleet,
    names: Iterable[str],
    options: Options,
    forks: int,
    on_event: Callable[[Event], None],
) -> dict[str, Seen | DreamError]:
    """Return what was seen of each host, or why it cannot be worked with."""
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
        else _read(fleet, name, answers, result.error, options)
        for name in chosen
    }
    return without_twins(found)


def without_twins(found: Mapping[str, Seen | DreamError]) -> dict[str, Seen | DreamError]:
    """Return what was found, with an error for each further name of an account that was met."""
    first: dict[str, str] = {}
    checked: dict[str, Seen | DreamError] = {}
    for name, seen in found.items():
        account = str(seen.document.get("account", "")) if isinstance(seen, Seen) else ""
        known = first.setdefault(account, name) if account else name
        checked[name] = seen if known == name else _twin(known)
    return checked


def _twin(known: str) -> UsageError:
    return UsageError(
        f"it is the same account of the same machine as {known}",
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


def _read(
    fleet: Fleet, name: str, answers: Path, problem: DreamError | None, options: Options
) -> Seen | DreamError:
    path = answers / (quote(name, safe="") + ".json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return problem or DreamError(
            "the host was not looked at",
            code="HOST_NOT_SEEN",
            hint="the log of the run says why",
        )
    seen = Seen(name, fleet.settings[name], cleaned(document))
    try:
        seen.prove()
        _refuse(seen, options)
    except DreamError as error:
        return error
    except host_answers.NONSENSE as error:
        return host_answers.garbage(error)
    return seen


def cleaned(value: Any) -> Any:
    """Return what a host answered without control characters in any text of it."""
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return printable.line(value, _LONGEST_TEXT) if isinstance(value, str) else value


def _refuse(seen: Seen, options: Options) -> None:
    """Refuse what only the host could tell about its settings."""
    install_dir = seen.places()["dream_install_dir"]
    if install_dir == seen.document["home"]:
        raise UsageError(
            f"{install_dir} is the home directory of the login user",
            code="INSTALL_DIR_REFUSED",
            hint="choose a directory of its own, for example ~/dream-runner",
        )
    resume.refuse_second(seen.before, install_dir, options.force)


def due_of(found: Found) -> list[Seen]:
    """Return the hosts with something to do."""
    return [seen for seen in found.values() if isinstance(seen, Seen) and seen.is_due]


def failed_of(found: Found) -> dict[str, DreamError]:
    """Return the hosts that cannot be worked with, and why."""
    return {name: item for name, item in found.items() if isinstance(item, DreamError)}
