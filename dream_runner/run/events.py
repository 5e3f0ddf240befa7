"""The events of a run, as frozen values.

The callback plugin sends JSON lines, and ``parse`` turns each into an event. The user interface
and the journal use only these classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..module_utils.dream_core.errors import DreamError, from_dict
from ..module_utils.dream_core.redact import clean


@dataclass(frozen=True)
class Event:
    """An event on ``host`` at ``time`` (seconds since the epoch)."""

    time: float
    host: str


@dataclass(frozen=True)
class PhaseStarted(Event):
    """The role of a phase has started."""

    phase: str


@dataclass(frozen=True)
class PhaseFinished(Event):
    """The role of a phase has ended: ``state`` is ok, changed, failed or unchanged (skipped).

    ``why`` is the reason why it ran or was skipped: ``differs: /srv/dream/.env: missing``.
    """

    phase: str
    state: str
    changed: int
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class TaskStarted(Event):
    """A task has started; ``phase`` is empty for the context play."""

    phase: str
    task: str


@dataclass(frozen=True)
class TaskFinished(Event):
    """A task has ended: ``status`` is ok, changed, skipped, failed, ignored or unreachable."""

    phase: str
    task: str
    status: str
    seconds: float
    module: str = ""
    message: str = ""
    error: DreamError | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Progress(Event):
    """Progress of a long step: bytes done, bytes in total (0: unknown), bytes per second."""

    phase: str
    what: str
    done: int
    total: int
    rate: float
    note: str = ""


@dataclass(frozen=True)
class Notice(Event):
    """A message for the user: ``level`` is info, warning or error."""

    level: str
    text: str


@dataclass(frozen=True)
class RunFinished(Event):
    """ansible-playbook has ended; the counts include all tasks of the host."""

    ok: int
    changed: int
    failed: int
    skipped: int
    unreachable: int


_KINDS: dict[str, type[Event]] = {
    "phase_started": PhaseStarted,
    "phase_finished": PhaseFinished,
    "task_started": TaskStarted,
    "task_finished": TaskFinished,
    "progress": Progress,
    "notice": Notice,
    "run_finished": RunFinished,
}
_NAMES = {cls: name for name, cls in _KINDS.items()}


def parse(message: Any) -> Event | None:
    """Return the event in one decoded JSON line, or None if it is unknown.

    A newer plugin may send fields or kinds that this version does not know.
    """
    if not isinstance(message, dict):
        return None
    cls = _KINDS.get(str(message.get("type")))
    if cls is None:
        return None
    known = {name: message[name] for name in cls.__dataclass_fields__ if name in message}
    for name in ("message", "text"):
        if name in known:
            # Failure messages of Ansible and its modules may contain secrets.
            known[name] = clean(str(known[name]))
    if "error" in known:
        known["error"] = from_dict(known["error"])
    try:
        return cls(**known)
    except TypeError:
        return None


def to_message(event: Event) -> dict[str, Any]:
    """Return the event as the JSON object that ``parse`` understands."""
    data = {item.name: getattr(event, item.name) for item in fields(event)}
    if isinstance(event, TaskFinished):
        data["error"] = event.error.to_dict() if event.error else None
    return {"type": _NAMES[type(event)], **data}
