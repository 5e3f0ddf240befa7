"""Send events to the wrapper over its socket, one JSON line per event.

Only names, states and counts are sent. The result of a task is never sent, so that no secret gets
into the journal. Without a wrapper (``DREAM_SOCKET`` unset) the plugin does nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any, Dict, FrozenSet, Optional

from ansible import constants
from ansible.plugins.callback import CallbackBase

from dream_runner.module_utils.dream_core.phases import PHASES

DOCUMENTATION = """
name: dream_events
type: notification
short_description: Events for the dream-runner wrapper
description: Sends phase and task events to the Unix socket named by the environment.
requirements: [the dream-runner wrapper at the other end]
"""


class CallbackModule(CallbackBase):
    """The sender of events; the receiver is dream_runner/run/events.py."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "dream_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        _share_modules(os.environ.get("DREAM_MODULES", ""))
        self._phase = ""
        self._phase_began: Dict[str, float] = {}
        self._changed: Dict[str, int] = {}
        self._failed: set = set()
        self._reasons: Dict[str, Dict[str, str]] = {}
        self._resting: Dict[str, FrozenSet[str]] = {}
        self._task_began = 0.0
        self._socket: Optional[socket.socket] = None
        path = os.environ.get("DREAM_SOCKET", "")
        if not path:
            self.disabled = True
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect("\0" + path[1:] if path.startswith("@") else path)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._finish_phase()
        names = [role.get_name() for role in play.get_roles()]
        self._phase = next((name for name in names if name in PHASES), "")
        self._phase_began, self._changed, self._failed = {}, {}, set()
        for host, resting in self._resting.items():
            if self._phase in resting:
                self._send_finished(host, "unchanged")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        name = host.get_name()
        if self._phase and name not in self._phase_began:
            self._phase_began[name] = time.time()
            self._changed[name] = 0
            self._send("phase_started", name, phase=self._phase)
        self._send("task_started", name, phase=self._phase, task=task.get_name().strip())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._task_began = time.time()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._task_began = time.time()

    def v2_runner_on_ok(self, result: Any) -> None:
        changed = bool(result._result.get("changed"))
        name = result._host.get_name()
        self._changed[name] = self._changed.get(name, 0) + int(changed)
        self._finish_task(result, "changed" if changed else "ok")
        if "due" in result._result and "reasons" in result._result:
            self._reasons[name] = _in_words(result._result["reasons"])
            self._resting[name] = frozenset(self._reasons[name]) - {*result._result["due"]}
        for warning in result._result.get("warnings") or []:
            self._send("notice", name, level="warning", text=str(warning))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._finish_task(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._failed.add(result._host.get_name())
        self._finish_task(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._failed.add(result._host.get_name())
        self._finish_task(result, "unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._finish_phase()
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            self._send(
                "run_finished",
                host,
                ok=counts["ok"],
                changed=counts["changed"],
                failed=counts["failures"],
                skipped=counts["skipped"],
                unreachable=counts["unreachable"],
            )

    def _finish_task(self, result: Any, status: str) -> None:
        failed = status in ("failed", "unreachable")
        data = _culprit(result._result) if failed else result._result
        hidden = bool(data.get("_ansible_no_log"))
        self._send(
            "task_finished",
            result._host.get_name(),
            phase=self._phase,
            task=result._task.get_name().strip(),
            status=status,
            seconds=round(time.time() - self._task_began, 3),
            module=str(result._task.action),
            message=_message(data) if failed and not hidden else "",
            error=data.get("dream_error") if failed else None,
        )

    def _finish_phase(self) -> None:
        for host, began in self._phase_began.items():
            changed = self._changed.get(host, 0)
            state = "failed" if host in self._failed else "changed" if changed else "ok"
            self._send_finished(host, state, changed, round(time.time() - began, 3))
        self._phase_began = {}

    def _send_finished(self, host: str, state: str, changed: int = 0, seconds: float = 0.0) -> None:
        self._send(
            "phase_finished",
            host,
            phase=self._phase,
            state=state,
            changed=changed,
            seconds=seconds,
            why=self._reasons.get(host, {}).get(self._phase, ""),
        )

    def _send(self, kind: str, host: str, **fields: Any) -> None:
        if self._socket is None:
            return
        line = json.dumps({"type": kind, "time": time.time(), "host": host, **fields}, default=str)
        # If the wrapper has ended, the kernel has already signalled this process (launch.py).
        with contextlib.suppress(OSError):
            self._socket.sendall(line.encode() + b"\n")


def _share_modules(directory: str) -> None:
    """Share built modules between the processes of a fleet run: each takes 0.5 s of CPU time.

    Ansible uses locks and renames in its directory of built modules, so sharing it is safe.
    """
    if directory:
        with contextlib.suppress(FileExistsError):
            os.symlink(directory, os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))


#: Maximum length of a message.
_MESSAGE_LIMIT = 2000


def _in_words(reasons: Dict[str, Any]) -> Dict[str, str]:
    """Return why each phase runs or is skipped: ``differs: /srv/dream/.env: missing``."""
    return {
        phase: ": ".join(str(part) for part in reason if part) for phase, reason in reasons.items()
    }


def _culprit(data: Dict[str, Any]) -> Dict[str, Any]:
    """Return the failed result; for a loop, the first failed item, which has the reason."""
    items = data.get("results")
    if not isinstance(items, list):
        return data
    return next((item for item in items if isinstance(item, dict) and _has_failed(item)), data)


def _has_failed(item: Dict[str, Any]) -> bool:
    """Tell whether an item of a loop failed; ansible-core 2.21 no longer sets ``failed``."""
    return bool(item.get("failed") or item.get("dream_error") or "exception" in item)


def _message(data: Dict[str, Any]) -> str:
    parts = [data.get("msg"), data.get("stderr") or data.get("module_stderr")]
    text = "\n".join(str(part).strip() for part in parts if part)
    return text[-_MESSAGE_LIMIT:]
