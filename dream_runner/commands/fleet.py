"""``dream-runner fleet``: the verbs of one machine, for many.

Ansible over SSH is the engine. Every verb begins by looking at all hosts at once; install and
uninstall then go through them one process a host, in the order that was asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import wording
from ..fleet import blob_store, host_settings
from ..fleet import visit_hosts as look
from ..fleet.inventory import hosts as inventory
from ..fleet.inventory.hosts import Source
from ..fleet.peer_sharing import Shares, offers_of
from ..fleet.results import Outcome
from ..fleet.rollout import Crew
from ..fleet.seen import Seen
from ..fleet.session import Fleet, Passwords
from ..fleet.ssh_sockets import Wires
from ..fleet.view import View
from ..fleet.wave_order import Amount, Order
from ..machine import pins, target
from ..module_utils.dream_core.checks import versions
from ..module_utils.dream_core.errors import (
    DreamError,
    FleetError,
    Interrupted,
    PrivilegeError,
    UsageError,
)
from ..module_utils.dream_core.fetch.request import Network
from ..module_utils.dream_core.fetch.request import Progress as Fetched
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.system import atomic, text_file
from ..paths import default_state_dir
from ..report import record
from ..run import history
from ..run.environment import ansible_environment, bare_environment
from ..run.events import Event, Progress
from ..run.processes import lock
from ..run.processes.stopper import Stopper
from ..run.request import Request, new_run_id
from ..run.results import HostResult, listed
from ..settings.values import Given
from ..ui import terminal

#: All at once: what is removed needs no canary.
_ALL = Order(Amount(0), (), Amount(100, is_percent=True))
#: Less free space than this and the next log line may be the last.
_LOW_DISK_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Way:
    """How to reach the hosts, whatever the verb."""

    source: Source
    forks: int = 0
    accept_new_host_keys: bool = False
    ask_pass: bool = False
    password_file: str = ""
    ask_become_pass: bool = False
    become_password_file: str = ""


@dataclass(frozen=True)
class Options:
    """What an install is asked besides the settings.

    ``direct`` lets every host fetch from the origin itself; ``serve`` is an address of ours.
    ``share`` lets hosts serve what they have, at ``share_port`` (0: any).
    """

    order: Order
    fresh: bool = False
    force: bool = False
    full: bool = False
    verify: bool = False
    install_python: bool = False
    direct: bool = False
    serve: str = ""
    share: bool = False
    share_port: int = 0
    yes: bool = False
    locked: bool = False


@dataclass(frozen=True)
class Host:
    """What a look at one host says: for plan, status and exec-doctor."""

    name: str
    state: str
    detail: str = ""
    error: DreamError | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the host as plain data."""
        error = self.error.to_dict() if self.error else None
        return {
            "host": self.name,
            "state": self.state,
            "detail": self.detail,
            "error": error,
            **self.facts,
        }


# --- install and uninstall ---------------------------------------------------------


def install(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    way: Way,
    options: Options,
    view: View,
) -> Outcome:
    """Install, continue, repair or change the hosts; raise a DreamError where it cannot begin."""
    began = time.monotonic()
    with _opened("install", flags, answers_file, environment, way, view) as opened:
        fleet, crew = opened.fleet, opened.crew
        found = opened.look(
            look.Options(
                fresh=options.fresh,
                full=options.full,
                verify=options.verify,
                force=options.force,
                install_python=options.install_python,
                try_become=True,
            ),
            keep_rested=options.share,
        )
        traffic: Mapping[str, int] = {}
        if not crew.interrupted:
            crew.lose({**look.failed_of(found), **_without_sudo(found, fleet)})
            names = {seen.name for seen in look.due_of(found)}
            crew.rest([n for n, seen in found.items() if isinstance(seen, Seen) and n not in names])
            _record(fleet, found)
            due = {seen.name: seen for seen in look.due_of(found) if seen.name not in crew.results}
            pinned, unpinned = _pinned(list(due.values()), locked=options.locked)
            crew.lose(unpinned)
            due = {name: seen for name, seen in due.items() if name not in unpinned}
            for tag, entry in pinned.items():
                view.note(f"pinned now: {tag} {entry['digest']}")
            _agree_to_install(list(due.values()), crew, options.yes)
            # On this machine, whose lock applies to every host.
            pins.record(pinned)
            with _serving(fleet, found, due, options, opened) as served:
                crew.fleet = served.fleet
                plan = _install_of(served.fleet, due, options)
                crew.work(list(due), plan, options.order, len(fleet.hosts))
            traffic = served.traffic
        return opened.outcome(time.monotonic() - began, traffic)


def uninstall(
    environment: Mapping[str, str], way: Way, view: View, *, purge: bool, yes: bool
) -> Outcome:
    """Remove from the hosts what their receipts say we made."""
    began = time.monotonic()
    with _opened("uninstall", {}, None, environment, way, view) as opened:
        _agree_to_remove(list(opened.fleet.hosts), purge=purge, yes=yes)

        def plan(name: str) -> Request:
            return opened.fleet.request(
                "uninstall", [name], opened.fleet.directory(name), {"dream_purge": purge}
            )

        opened.crew.work(list(opened.fleet.hosts), plan, _ALL, len(opened.fleet.hosts))
        return opened.outcome(time.monotonic() - began, {})


def _pinned(
    due: Sequence[Seen], *, locked: bool
) -> tuple[Mapping[str, Any], dict[str, DreamError]]:
    """Return new pins for images that no lock pins, and errors for hosts that still miss some."""
    missing = {seen.name: pins.unpinned(seen.choice) for seen in due}
    online = {seen.name for seen in due if not seen.settings["offline"]} if not locked else set()
    tags = sorted({tag for name in online for tag in missing[name]})
    answers = pins.ask(tags) if tags else None
    found = answers.found if answers else {}
    reasons = answers.reasons() if answers else []
    left = {name: [tag for tag in tags if tag not in found] for name, tags in missing.items()}
    return found, {
        name: pins.refusal(tags, reasons if name in online else (), locked=locked)
        for name, tags in left.items()
        if tags
    }


def _record(fleet: Fleet, found: look.Found) -> None:
    """Leave what every host is and what it needs, for the report."""
    for name, seen in found.items():
        if isinstance(seen, Seen):
            facts = seen.document["decided"]["host"]
            record.planned(fleet.directory(name), facts, seen.choice, seen.steps, host=name)


def _install_of(
    fleet: Fleet, due: Mapping[str, Seen], options: Options
) -> Callable[[str], Request]:
    def plan(name: str) -> Request:
        seen = due[name]
        return fleet.request(
            "install",
            [name],
            fleet.directory(name),
            {
                "dream_fresh": options.fresh,
                "dream_full": options.full or options.fresh,
                "dream_force": options.force,
                "dream_verify": options.verify,
                "dream_unanswered": not any(step.is_due for step in seen.steps),
            },
            places={name: seen.places()},
        )

    return plan


def _without_sudo(found: look.Found, fleet: Fleet) -> dict[str, DreamError]:
    """Return the hosts whose work would stop at sudo's question, or for want of sudo."""
    wanting = [seen for seen in found.values() if isinstance(seen, Seen) and seen.needs_root]
    errors: dict[str, DreamError] = {}
    for seen in wanting:
        has_password = fleet.passwords.become is not None
        has_password = has_password or fleet.hosts[seen.name].has_become_password
        if seen.sudo == "none":
            errors[seen.name] = PrivilegeError(
                "root is needed there, and the host has no sudo",
                code="SUDO_MISSING",
                hint="install sudo there, or log in as root: ansible_user=root",
            )
        elif seen.sudo == "password" and not has_password:
            errors[seen.name] = PrivilegeError(
                "root is needed there, and sudo asks for a password",
                code="SUDO_NEEDED",
                hint="--ask-become-pass, --become-password-file, or ansible_become_password "
                "in a vault",
            )
    return errors


def _agree_to_install(due: Sequence[Seen], crew: Crew, yes: bool) -> None:
    if yes or not due or not terminal.is_present():
        return
    lost = sum(result.state == "failed" for result in crew.results.values())
    rest = len(crew.results) - lost
    megabytes = wording.size(sum(seen.missing_bytes for seen in due))
    terminal.say(
        f"{wording.plural(len(due), 'host')} with something to do ({megabytes} of model bytes), "
        f"{rest} in order, {lost} that cannot be worked with."
    )
    if terminal.ask("Go ahead?", ("y", "n"), "y") != "y":
        raise Interrupted("not started; nothing was changed", code="DECLINED")


def _agree_to_remove(names: Sequence[str], *, purge: bool, yes: bool) -> None:
    if yes:
        return
    if not terminal.is_present():
        raise UsageError(
            "nobody is here to confirm the removal", code="NOT_CONFIRMED", hint="add --yes"
        )
    what = "everything, models and your data included," if purge else "what was installed"
    terminal.say(f"This removes {what} on {wording.plural(len(names), 'host')}: {listed(names)}.")
    if terminal.ask("Remove it?", ("y", "n"), "n") != "y":
        raise Interrupted("not started; nothing was changed", code="DECLINED")


# --- the bytes -----------------------------------------------------------------------


@dataclass
class _Served:
    """The fleet with its sources of files; ``traffic`` counts when they have closed."""

    fleet: Fleet
    traffic: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def _serving(
    fleet: Fleet, found: look.Found, due: Mapping[str, Seen], options: Options, opened: _Opened
) -> Iterator[_Served]:
    """Serve the files that hosts lack."""
    store = blob_store.Store(blob_store.cache_directory(fleet.caller))
    needing = [seen.choice for seen in due.values() if seen.needs_model]
    models = [choice["model"] for choice in needing]
    helpers = [item for choice in needing for item in (choice["stack"] or {}).get("models", ())]
    files = [
        item
        for item in blob_store.wanted([*models, *helpers])
        if item.local_path or not options.direct
    ]
    origin = sum(_provide(store, item, fleet, opened) for item in files)
    with blob_store.Server(store, fleet.wires.blobs, options.serve) as server:
        if server.url:
            opened.view.note(f"serving the model's files at {server.url}")
        shares = _sharing(fleet, server, found, options)
        served = _Served(replace(fleet, server=server, shares=shares))
        with shares or contextlib.nullcontext():
            if shares:
                _begin_sharing(shares, bool(models), opened)
            yield served
        served.traffic = {
            "origin_bytes": origin,
            "served_bytes": server.bytes_served,
            "peer_bytes": shares.bytes_served if shares else 0,
        }


def _sharing(
    fleet: Fleet, server: blob_store.Server, found: look.Found, options: Options
) -> Shares | None:
    """Return the hosts that may serve, where the user said so; this machine serves already."""
    if not options.share:
        return None
    seen = {name: item for name, item in found.items() if isinstance(item, Seen)}
    names = [name for name in seen if not fleet.hosts[name].is_here]
    return Shares(fleet.wires, server.token, offers_of(seen, names), options.share_port)


def _begin_sharing(shares: Shares, is_needed: bool, opened: _Opened) -> None:
    """Let hosts in order serve their files, before the first other one wants them."""

    def begin(name: str) -> bool:
        begun = is_needed and shares.begin(name)
        if not begun:
            opened.fleet.wires.hang_up(name)
        return begun

    with ThreadPoolExecutor(max_workers=16) as pool:
        count = sum(pool.map(begin, opened.rested))
    if count:
        opened.view.note(f"{wording.plural(count, 'host')} in order: their files go to the others")


def _provide(
    store: blob_store.Store, item: blob_store.Wanted, fleet: Fleet, opened: _Opened
) -> int:
    """Have a file here; one that cannot be had is left to the hosts, unless nobody else has it."""

    def show(seen: Fetched) -> None:
        if opened.crew.interrupted:
            raise Interrupted("stopped while fetching", code="INTERRUPTED")
        rate, note = seen.rate, seen.note
        opened.view.take(
            Progress(
                time.time(), "controller", "models", item.file, seen.done, seen.total, rate, note
            )
        )

    try:
        return store.provide(item, Network.from_environment(fleet.caller), show)
    except DreamError as error:
        if item.local_path or isinstance(error, Interrupted):
            raise
        opened.view.note(
            f"{item.file} cannot be had here ({error}); every host fetches it itself", "warning"
        )
        return 0


# --- plan, status, exec-doctor ------------------------------------------------------------


def plan(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    way: Way,
    view: View,
    *,
    force: bool = False,
    locked: bool = False,
) -> list[Host]:
    """Return what install would do on each host; write nothing there."""
    options = look.Options(save=False, force=force)
    hosts = _each("plan", flags, answers_file, environment, way, view, options, _planned)
    return hosts if locked else _with_pins(hosts)


def _with_pins(hosts: list[Host]) -> list[Host]:
    """Return the hosts with the pins that install would record first."""
    tags = sorted({tag for host in hosts for tag in host.facts.get("unpinned", ())})
    found = pins.ask(tags).found if tags else {}
    return [_with_pin(host, found) if host.facts.get("unpinned") else host for host in hosts]


def _with_pin(host: Host, found: Mapping[str, Any]) -> Host:
    rows = [pins.row(tag, found[tag]) for tag in host.facts["unpinned"] if tag in found]
    left = [tag for tag in host.facts["unpinned"] if tag not in found]
    notes = [f"pinned now: {row['image']} {row['digest']}" for row in rows]
    notes += [f"not pinned: {tag}" for tag in left]
    facts = {**host.facts, "unpinned": left, "pinned_now": rows}
    return replace(host, detail="; ".join([host.detail, *notes]), facts=facts)


def status(environment: Mapping[str, str], way: Way, view: View) -> list[Host]:
    """Return what each host does now; the model of each is asked one question."""
    options = look.Options(save=False, force=True)
    return _each("status", {}, None, environment, way, view, options, _state)


def doctor(environment: Mapping[str, str], way: Way, view: View) -> list[Host]:
    """Return what is wrong on each host, with the remedy."""
    options = look.Options(save=False, force=True, verify=True)
    return _each("exec-doctor", {}, None, environment, way, view, options, _findings)


def _each(
    verb: str,
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    way: Way,
    view: View,
    options: look.Options,
    tell: Callable[[Seen], Host],
) -> list[Host]:
    with _opened(verb, flags, answers_file, environment, way, view, exclusive=False) as opened:
        found = opened.look(options)
        if opened.crew.interrupted:
            raise Interrupted("stopped", code="INTERRUPTED")
        return [
            Host(name, "failed", seen.what, seen) if isinstance(seen, DreamError) else tell(seen)
            for name, seen in found.items()
        ]


def _planned(seen: Seen) -> Host:
    due = [step for step in seen.steps if step.is_due]
    phases = f"all {len(due)} phases" if len(due) == len(seen.steps) else ""
    detail = phases or ", ".join(step.phase for step in due) or "nothing to do"
    if not due and not seen.answers:
        detail = "the engine, which does not answer"
    choice = seen.choice
    changes = list(choice.get("data_changes", ()))
    detail = "; ".join([detail, *(f"data: {versions.sentence(item)}" for item in changes)])
    return Host(
        seen.name,
        "due" if seen.is_due else "in order",
        detail,
        facts={
            "tier": choice["tier"]["id"],
            "model": choice["model"]["id"],
            "missing_bytes": seen.missing_bytes if seen.needs_model else 0,
            "unpinned": pins.unpinned(choice),
            "data_changes": changes,
            "install_dir": seen.places()["dream_install_dir"],
            "steps": [asdict(step) for step in seen.steps],
        },
    )


def _state(seen: Seen) -> Host:
    before, engine = seen.before, seen.engine
    versions = [str(item.get("version", "")) for item in seen.receipts.values()]
    facts = {
        "version": max(versions, default=""),
        "url": engine["url"],
        "drift": seen.drift,
    }
    if before.state == "absent":
        return Host(seen.name, "absent", "nothing is installed", facts=facts)
    if before.is_open:
        detail = f"{before.state} in phase {before.phase}"
        return Host(seen.name, "interrupted", detail, facts=facts)
    if not seen.answers:
        return Host(seen.name, "stopped", engine["why"], facts=facts)
    if seen.drift:
        return Host(seen.name, "drifted", seen.drift[0], facts=facts)
    return Host(seen.name, "ready", "the model has just answered", facts=facts)


def _findings(seen: Seen) -> Host:
    found = list(_problems(seen))
    bad = [item for item in found if item["severity"] == "error"]
    state = "error" if bad else "warning" if found else "well"
    lines = [f"{item['severity']}: {item['what']}" for item in found]
    return Host(seen.name, state, "; ".join(lines) or "nothing is wrong",
                facts={"findings": found})  # fmt: skip


def _problems(seen: Seen) -> Iterator[dict[str, str]]:
    for item in seen.document["decided"]["host"]["findings"]:
        if item["severity"] in ("warning", "error"):
            yield {key: str(item.get(key, "")) for key in ("id", "severity", "what", "hint")}
    again = "'dream-runner fleet install' again repairs it"
    if seen.before.is_open:
        where = f"{seen.before.state} in phase {seen.before.phase}"
        yield _problem("interrupted", "warning", where, again)
    for line in seen.drift:
        yield _problem("drift", "warning", line, again)
    if seen.before.state == "finished" and not seen.answers:
        yield _problem("engine", "error", seen.engine["why"], again)
    if seen.free_bytes is not None and seen.free_bytes < _LOW_DISK_BYTES:
        yield _problem(
            "disk", "warning", f"{wording.size(seen.free_bytes)} free", "free some space"
        )


def _problem(name: str, severity: str, what: str, hint: str) -> dict[str, str]:
    return {"id": name, "severity": severity, "what": what, "hint": hint}


def hosts_as_json(verb: str, hosts: Sequence[Host], code: int) -> dict[str, Any]:
    """Return what was seen as the data that ``--json`` prints."""
    counts: dict[str, int] = {}
    for host in hosts:
        counts[host.state] = counts.get(host.state, 0) + 1
    return {
        "schema": "dream-runner.fleet-hosts/1",
        "verb": verb,
        "exit_code": code,
        "counts": counts,
        "hosts": [host.to_dict() for host in hosts],
    }


def hosts_as_text(hosts: Sequence[Host]) -> str:
    """Return a line a host, the errors with their hints below."""
    wide = max(len(host.name) for host in hosts)
    broad = max(len(host.state) for host in hosts)
    lines = [f"{host.name:{wide}}  {host.state:{broad}}  {host.detail}" for host in hosts]
    hints = {host.error.hint: host.error.code for host in hosts if host.error and host.error.hint}
    return "\n".join([*lines, *(f"hint ({code}): {hint}" for hint, code in hints.items())])


def exit_code(hosts: Sequence[Host], good: Sequence[str]) -> int:
    """Return 0 when every host is in one of the ``good`` states, else 13."""
    return 0 if all(host.state in good for host in hosts) else FleetError.exit_code


# --- what all verbs begin with ----------------------------------------------------------------


@dataclass
class _Opened:
    """A fleet that is ready to be worked with."""

    verb: str
    fleet: Fleet
    crew: Crew
    view: View
    forks: int
    #: Hosts in order whose connections still stand.
    rested: Sequence[str] = ()

    def look(
        self, options: look.Options, *, keep_rested: bool = False
    ) -> dict[str, Seen | DreamError]:
        """Look at every host, then let the connections go: the next use may be hours away.

        ``keep_rested`` keeps those of hosts in order.
        """
        names = list(self.fleet.hosts)
        self.view.note(f"looking at {wording.plural(len(names), 'host')}")
        found = look.at(self.fleet, names, options, self.forks, _only_notices(self.view))
        if keep_rested:
            seen = {name: item for name, item in found.items() if isinstance(item, Seen)}
            self.rested = [name for name, item in seen.items() if not item.is_due]
        gone = [name for name in names if name not in self.rested]
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(self.fleet.wires.hang_up, gone))
        return found

    def outcome(self, seconds: float, traffic: Mapping[str, int]) -> Outcome:
        """Return how the run ended, and leave it as the report of the run."""
        crew = self.crew
        hosts = [
            crew.results.get(name) or HostResult(name, "untouched") for name in self.fleet.hosts
        ]
        made = Outcome(
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
    """Show of the look only what it warns of: it is one step."""

    def take(event: Event) -> None:
        if type(event).__name__ == "Notice":
            view.take(event)

    return take


@contextlib.contextmanager
def _opened(
    verb: str,
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    way: Way,
    view: View,
    *,
    exclusive: bool = True,
) -> Iterator[_Opened]:
    """Read and check everything, then hold what a run needs until it has ended."""
    if verb in ("install", "plan"):
        network_env.require(environment)
    caller = dict(environment)
    state_dir = Path(default_state_dir(caller)) / "fleet"
    if not exclusive:
        # Beside the runs, so that asking often does not push out what they left.
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
        hosts = inventory.read(way.source, ansible_environment(run_dir, caller))
        settings = host_settings.of_hosts(hosts, flags, caller, answers_file, target.known())
        passwords = _passwords(way, len(hosts))
        wires = stack.enter_context(
            contextlib.closing(
                Wires(hosts, view.take, accept_new_host_keys=way.accept_new_host_keys)
            )
        )
        fleet = Fleet(
            run_id=run_id,
            run_dir=run_dir,
            source=way.source,
            hosts={host.name: host for host in hosts},
            settings=settings,
            wires=wires,
            passwords=passwords,
            caller=caller,
        )
        forks = way.forks or default_forks()
        crew = Crew(fleet, view, forks)
        stopper = stack.enter_context(Stopper(run_id, _letting_go(crew, wires)))
        stack.callback(stopper.finish)
        stack.enter_context(bare_environment())
        stack.callback(shutil.rmtree, run_dir / "answers", ignore_errors=True)
        yield _Opened(verb, fleet, crew, view, forks)


def _letting_go(crew: Crew, wires: Wires) -> Callable[[], None]:
    def let_go() -> None:
        crew.interrupt()
        wires.cut()

    return let_go


def default_forks() -> int:
    """Return how many hosts this machine works with at a time (docs/developer/fleet.md)."""
    return 4 * (os.cpu_count() or 1)


def _warning(view: View) -> Callable[[str], None]:
    return lambda line: view.note(line, "warning")


def _sweep(state_dir: Path) -> None:
    """Drop what killed runs left half-way, and all but the newest runs."""
    history.sweep(state_dir)
    for left in (*state_dir.glob("runs/*/hosts/*/work"), *state_dir.glob("runs/*/answers")):
        if not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def _write_report(run_dir: Path, outcome: Outcome, view: View) -> None:
    try:
        atomic.write_json(str(run_dir / "report.json"), outcome.to_dict(), mode=0o600)
    except (DreamError, OSError) as error:
        view.note(f"no report was written: {error}", "warning")


# --- passwords ------------------------------------------------------------------------------------


def _passwords(way: Way, count: int) -> Passwords:
    hosts = wording.plural(count, "host")
    return Passwords(
        login=_password(way.ask_pass, way.password_file, f"SSH password for {hosts}: "),
        become=_password(
            way.ask_become_pass, way.become_password_file, f"[sudo] password on {hosts}: "
        ),
    )


def _password(ask: bool, file: str, prompt: str) -> str | None:
    if file:
        return _from_file(file)
    if not ask:
        return None
    password = terminal.password(prompt)
    if password is None:
        raise UsageError(
            "nobody is here to type a password",
            code="NO_TERMINAL",
            hint="give a file or a descriptor: --become-password-file /dev/fd/3",
        )
    return password


#: In characters; also what is read of a descriptor without an end.
_LONGEST_PASSWORD = 4096


def _from_file(path: str) -> str:
    """Return the first line of a file that only its owner can read, or of a descriptor."""
    try:
        with open(path, encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            # A descriptor may be a pipe, and a device has no end.
            password = text_file.plain(stream.readline(_LONGEST_PASSWORD)).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not text in UTF-8"
        raise UsageError(f"{path} cannot be read: {reason}", code="PASSWORD_FILE") from None
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        raise UsageError(
            f"{path} can be read by others", code="PASSWORD_FILE", hint=f"chmod 600 {path}"
        )
    if not password:
        raise UsageError(f"{path} is empty", code="PASSWORD_FILE")
    return password
