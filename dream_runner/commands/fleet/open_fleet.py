"""Open a fleet, as every fleet command does: read and check everything, hold it for the run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ... import wording
from ...fleet import host_settings, visit_hosts
from ...fleet.inventory import hosts as inventory
from ...fleet.results import FleetOutcome
from ...fleet.rollout import Crew
from ...fleet.seen import Seen
from ...fleet.session import Fleet, HostAccess
from ...fleet.ssh_sockets import Wires
from ...fleet.view import View
from ...machine import target
from ...module_utils.dream_core.errors import DreamError
from ...module_utils.dream_core.files import json_file
from ...module_utils.dream_core.network import network_env
from ...paths import default_state_dir
from ...run import history
from ...run.environment import ansible_environment, bare_environment
from ...run.events import Event
from ...run.processes import lock
from ...run.processes.stopper import Stopper
from ...run.request import new_run_id
from ...run.results import HostResult
from ...settings.values import Given
from .passwords import ask_passwords


@dataclass
class OpenFleet:
    """A fleet that is ready for a run."""

    verb: str
    fleet: Fleet
    crew: Crew
    view: View
    forks: int
    #: Up-to-date hosts whose connections are still open.
    rested: Sequence[str] = ()

    def look(
        self, options: visit_hosts.Options, *, keep_rested: bool = False
    ) -> dict[str, Seen | DreamError]:
        """Visit every host, then close the connections: the next use may be hours away.

        ``keep_rested`` keeps the connections of hosts that are up to date.
        """
        names = list(self.fleet.hosts)
        self.view.note(f"checking {wording.plural(len(names), 'host')}")
        found = visit_hosts.at(self.fleet, names, options, self.forks, _only_notices(self.view))
        if keep_rested:
            seen = {name: item for name, item in found.items() if isinstance(item, Seen)}
            self.rested = [name for name, item in seen.items() if not item.is_due]
        gone = [name for name in names if name not in self.rested]
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(self.fleet.wires.close_connection, gone))
        return found

    def outcome(self, seconds: float, traffic: Mapping[str, int]) -> FleetOutcome:
        """Return how the run ended, and write it as the report of the run."""
        crew = self.crew
        hosts = [
            crew.results.get(name) or HostResult(name, "untouched") for name in self.fleet.hosts
        ]
        made = FleetOutcome(
            self.verb,
            self.fleet.run_id,
            str(self.fleet.run_dir),
            hosts,
            seconds,
            crew.stopped,
            crew.interrupted,
            traffic,
        )
        _write_report(self.fleet.run_dir, made, self.view)
        return made


def _only_notices(view: View) -> Callable[[Event], None]:
    """Show only the notices of the visit: to the user, it is one step."""

    def take(event: Event) -> None:
        if type(event).__name__ == "Notice":
            view.take(event)

    return take


@contextlib.contextmanager
def open_fleet(
    verb: str,
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    access: HostAccess,
    view: View,
    *,
    exclusive: bool = True,
) -> Iterator[OpenFleet]:
    """Read and check everything; hold the lock and the sockets until the run has ended."""
    if verb in ("install", "plan"):
        network_env.require(environment)
    caller = dict(environment)
    state_dir = Path(default_state_dir(caller)) / "fleet"
    if not exclusive:
        # In a folder of its own, so that frequent status runs do not push out install logs.
        state_dir = state_dir / "looks"
    run_id = new_run_id()
    run_dir = history.directory(state_dir, run_id)
    with contextlib.ExitStack() as stack:
        if exclusive:
            warn = _warning(view)
            stack.enter_context(lock.hold(str(state_dir), f"dream-runner fleet {verb}", warn))
            lock.clear_leftovers(str(state_dir), view.note)
        _sweep(state_dir)
        run_dir.mkdir(parents=True, mode=0o700)
        hosts = inventory.read(access.source, ansible_environment(run_dir, caller))
        settings = host_settings.of_hosts(hosts, flags, caller, answers_file, target.known())
        passwords = ask_passwords(access, len(hosts))
        wires = stack.enter_context(
            contextlib.closing(
                Wires(hosts, view.take, accept_new_host_keys=access.accept_new_host_keys)
            )
        )
        fleet = Fleet(
            run_id=run_id,
            run_dir=run_dir,
            source=access.source,
            hosts={host.name: host for host in hosts},
            settings=settings,
            wires=wires,
            passwords=passwords,
            caller=caller,
        )
        forks = access.forks or default_forks()
        crew = Crew(fleet, view, forks)
        stopper = stack.enter_context(Stopper(run_id, _stop_everything(crew, wires)))
        stack.callback(stopper.finish)
        stack.enter_context(bare_environment())
        stack.callback(shutil.rmtree, run_dir / "answers", ignore_errors=True)
        yield OpenFleet(verb, fleet, crew, view, forks)


def _stop_everything(crew: Crew, wires: Wires) -> Callable[[], None]:
    def let_go() -> None:
        crew.interrupt()
        wires.cut()

    return let_go


def default_forks() -> int:
    """Return the default number of hosts to work on in parallel (docs/developer/fleet.md)."""
    return 4 * (os.cpu_count() or 1)


def _warning(view: View) -> Callable[[str], None]:
    return lambda line: view.note(line, "warning")


def _sweep(state_dir: Path) -> None:
    """Remove the leftovers of killed runs, and all but the newest runs."""
    history.sweep(state_dir)
    for left in (*state_dir.glob("runs/*/hosts/*/work"), *state_dir.glob("runs/*/answers")):
        if not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def _write_report(run_dir: Path, outcome: FleetOutcome, view: View) -> None:
    try:
        json_file.write_json(str(run_dir / "report.json"), outcome.to_dict(), mode=0o600)
    except (DreamError, OSError) as error:
        view.note(f"the report could not be written: {error}", "warning")
