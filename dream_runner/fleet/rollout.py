"""Install the hosts in waves, several in parallel, and stop after too many failures.

Every host has its own ansible-playbook process, exactly like an install of one machine. So hosts
do not wait for each other, have separate logs, and fail separately. This costs one second
of CPU time per host (docs/developer/fleet.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..module_utils.dream_core.errors import DreamError, Interrupted
from ..run.ansible import execute_among_others
from ..run.events import Event, RunFinished
from ..run.journal import Journal
from ..run.request import Request, Result
from ..run.results import HostResult, is_good, state_of
from .session import Fleet
from .ssh_errors import explained
from .view import View
from .wave_order import Order

#: Returns the Ansible run of a host.
Plan = Callable[[str], Request]


class Crew:
    """Runs hosts in order. After a stop, no further host is started.

    ``fleet`` may be replaced when the file servers have started.
    ``results`` has every host that was started, and those that failed before that.
    """

    def __init__(self, fleet: Fleet, view: View, forks: int) -> None:
        self.results: dict[str, HostResult] = {}
        self.stopped = ""
        self.fleet = fleet
        self._view = view
        self._forks = forks
        self._halt = threading.Event()
        self._interrupted = threading.Event()
        self._lock = threading.Lock()

    @property
    def interrupted(self) -> bool:
        """Tell whether the user stopped the run."""
        return self._interrupted.is_set()

    def interrupt(self) -> None:
        """Start no further host. The caller ends those that are running."""
        self._interrupted.set()
        self._halt.set()

    def add_failed(self, errors: Mapping[str, DreamError], stage: str = "preflight") -> None:
        """Record hosts that failed before the first wave."""
        for name, error in errors.items():
            self._end(HostResult(name, state_of(error, 0), stage, error))

    def add_unchanged(self, names: Sequence[str]) -> None:
        """Record hosts that need no change."""
        for name in names:
            self._end(HostResult(name, "unchanged", "preflight"))

    def work(self, names: Sequence[str], plan: Plan, order: Order, total: int) -> None:
        """Run ``names`` in stages until done or stopped. ``total`` is the size of the fleet."""
        if not self._may_continue(order, total):
            return
        stages = order.stages(names)
        for number, stage in enumerate(stages):
            is_canary = order.has_canary() and number == 0
            title = "canary" if is_canary else f"wave {number + (not order.has_canary())}"
            if len(stages) > 1:
                self._view.note(f"{title}: {len(stage)} of {len(names)} hosts")
            self._stage(stage, title, plan, order, total)
            if is_canary and not all(self._is_good(name) for name in stage):
                self._stop("the canary failed")
            if self._halt.is_set():
                return

    def _is_good(self, name: str) -> bool:
        return name not in self.results or is_good(self.results[name].state)

    def _stage(
        self, names: Sequence[str], title: str, plan: Plan, order: Order, total: int
    ) -> None:
        def one(name: str) -> None:
            if self._halt.is_set():
                return
            self._view.begin(name)
            self._end(self._run(name, title, plan))
            self._may_continue(order, total)

        with ThreadPoolExecutor(max_workers=self._forks) as pool:
            for future in [pool.submit(one, name) for name in names]:
                future.result()

    def _run(self, name: str, stage: str, plan: Plan) -> HostResult:
        began = time.monotonic()
        request = plan(name)
        result = self._follow(request)
        error = explained(result.error, self.fleet, name) if result.error else None
        has_all = not self.interrupted and is_good(state_of(error, result.changed))
        self.fleet.finish_host(name, is_good=has_all)
        if self.interrupted:
            # Ansible may report a stopped run as a success.
            error = Interrupted(
                "stopped before the end; completed work is kept",
                code="INTERRUPTED",
                hint="run the same command again to continue",
            )
        return HostResult(
            name,
            state_of(error, result.changed),
            stage,
            error,
            result.changed,
            result.ok,
            time.monotonic() - began,
            str(request.run_dir / "log.txt"),
        )

    def _follow(self, request: Request) -> Result:
        with Journal(request.run_dir) as journal:

            def take(event: Event) -> None:
                journal.take(event)
                if not isinstance(event, RunFinished):
                    self._view.take(event)

            return execute_among_others(request, take, self.fleet.caller)

    def _end(self, result: HostResult) -> None:
        with self._lock:
            self.results[result.name] = result
        self._view.end(result)

    def _may_continue(self, order: Order, total: int) -> bool:
        with self._lock:
            states = [item.state for item in self.results.values()]
        failed = sum(state == "failed" for state in states)
        if failed and not order.allows(failed, total):
            self._stop(f"{failed} of {total} hosts failed, --max-fail allows {order.max_fail}")
        return not self._halt.is_set()

    def _stop(self, why: str) -> None:
        with self._lock:
            if not self._halt.is_set():
                self.stopped = why
                self._halt.set()
