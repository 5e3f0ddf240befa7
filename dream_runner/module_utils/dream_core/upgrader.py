"""Fetch a host's own model while a small one answers, try it, and put it in its place.

The program of the unit that the models role writes for a fast start. It can be killed at any
instant and started again: what is due follows from the host. In order: the file is fetched
and verified; it is loaded and asked beside the running engine, on a port of its own; the
configuration is switched; the engine at its real address answers; only then the small model
goes, the receipts say what is there now, and the unit removes itself. Whatever fails after
the switch puts the small model back, and the unit stays as ``failed`` with the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from . import (
    atomic,
    bounds,
    due,
    engine,
    envfile,
    envwrite,
    files,
    ownership,
    proved,
    receipt,
    streams,
    survey,
    upgrade,
)
from .containers import FILE as COMPOSE_FILE
from .containers import Stack, look
from .errors import DreamError, EngineError, IntegrityError, UsageError
from .fetch.fetcher import fetch, remove
from .fetch.request import FetchRequest, Network
from .health import wait_for_services
from .phases import PHASES
from .probe import complete, wait_until_ready
from .session import SYSTEM_PATH

#: Exit status that systemd does not answer with another start: only a person can go on.
FINAL = 4

#: The compose project of the trial; a killed trial's container is known by it.
TRIAL = "dream-runner-trial"
_ENGINE = "llama-server"
#: What a trial need not have: it is to load the file and to say one word.
_TRIAL_ARGUMENTS = {"--n-gpu-layers": "0", "--ctx-size": "512", "--parallel": "1"}
_TRIAL_KEEPS = ("image", "pull_policy", "entrypoint", "user", "environment", "volumes")

_READY_SECONDS = 300.0
_ANSWER_SECONDS = 600.0
#: A disk that reads no faster than this is given the time all the same.
_SLOW_BYTES_PER_SECOND = 20_000_000
_PAUSE_SECONDS = (15.0, 900.0)
_POLL_SECONDS = 2.0

Document = Dict[str, Any]


class Refused(Exception):
    """The host's own model cannot take its place; nothing but a person changes that."""


class Upgrader:
    """One upgrade, as its document describes it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._paths = upgrade.Paths(str(document["install_dir"]))
        self._state_dir = str(document["state_dir"])
        self._command = str(document["command"])
        self._digest = digest_of(document)
        self._bounds = bounds.Bounds(str(document["install_dir"]), os.path.expanduser("~"))

    def run(self) -> int:
        """Do all that is left to do; return the program's exit status."""
        try:
            if not self._is_over():
                self._fetch()
            with self._turn():
                if not self._is_over():
                    self._refuse_again()
                    self._try()
                    self._record(self._switch())
                self._say(upgrade.RETIRING)
                self._retire_small()
                self._leave()
        except Refused as error:
            self._say(upgrade.FAILED, str(error), {"digest": self._digest, "why": str(error)})
            return FINAL
        except DreamError as error:
            self._say(upgrade.FAILED, error.what)
            return FINAL
        return 0

    def _is_over(self) -> bool:
        """Tell whether the receipts say that the model has its place already."""
        receipts, _ = receipt.read_all(self._state_dir)
        facts = (receipts.get("models") or {}).get("facts") or {}
        served = facts.get("sha256") == self._document["model"]["sha256"]
        return served and not facts.get("upgrade")

    # --- fetching

    def _fetch(self) -> None:
        """Have every file, verified; a server or disk that fails is waited for."""
        self._say(upgrade.FETCHING)
        tries = 0
        while True:
            before = upgrade.progress(self._paths.models, self._document["model"]["files"])[0]
            try:
                for item in self._document["model"]["files"]:
                    fetch(self._request(item))
                return
            except IntegrityError as error:
                raise Refused(error.what) from error
            except UsageError:
                raise
            except DreamError as error:
                # New bytes are a reason for hope.
                here = upgrade.progress(self._paths.models, self._document["model"]["files"])[0]
                tries = 0 if here > before else tries + 1
                self._say(upgrade.FETCHING, error.what)
                time.sleep(pause(tries))
                self._say(upgrade.FETCHING)

    def _request(self, item: Mapping[str, Any]) -> FetchRequest:
        known = self._document["fetch"]
        return FetchRequest(
            path=os.path.join(self._paths.models, str(item["file"])),
            sha256=str(item["sha256"]),
            sources=tuple(item["urls"]),
            size_bytes=int(item.get("size_bytes") or 0),
            reserve_bytes=int(known["reserve_bytes"]),
            network=Network.from_environment(self._environment(), token=self._token()),
        )

    def _environment(self) -> Dict[str, str]:
        """Return the variables that the install was given for the network."""
        try:
            with open(self._paths.network, encoding="utf-8") as stream:
                return {**os.environ, **envfile.parse(stream.read())}
        except FileNotFoundError:
            return dict(os.environ)

    def _token(self) -> str:
        path = str(self._document["fetch"]["token_file"])
        if not path:
            return ""
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read().strip()
        except OSError as error:
            raise UsageError(
                "the token file %s cannot be read: %s" % (path, error.strerror),
                code="BAD_TOKEN_FILE",
            ) from error

    # --- waiting

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until nobody else works on this host and the install has ended, and hold that."""
        while True:
            with upgrade.turn(self._state_dir) as mine:
                why = self._why_wait() if mine else "an install is at work"
                if not why:
                    yield
                    return
            self._say(upgrade.WAITING, why)
            time.sleep(_POLL_SECONDS)

    def _why_wait(self) -> str:
        """Return why it is not yet time to switch, or an empty string."""
        now, _ = atomic.read_json(self._paths.document)
        if not isinstance(now, dict) or digest_of(now) != self._digest:
            # Another model was chosen meanwhile; systemd starts this program again with it.
            raise SystemExit(1)
        receipts, _ = receipt.read_all(self._state_dir)
        for name in ("models", "services", "health", *receipts):
            state = receipts.get(name, {}).get("state")
            # A report that could not be written ends an install all the same.
            if state != "done" and (name, state) != ("summary", "failed"):
                return "the install has not ended phase %s" % name
        return ""

    def _refuse_again(self) -> None:
        """Do not try what was refused: each try makes the engine unreachable for a while."""
        refused = self._refused()
        if refused.get("digest") == self._digest:
            raise Refused(str(refused.get("why", "")))

    def _refused(self) -> Dict[str, Any]:
        said, _ = atomic.read_json(self._paths.state)
        refused = said.get("refused") if isinstance(said, dict) else None
        return refused if isinstance(refused, dict) else {}

    # --- trying

    def _try(self) -> None:
        """Load the model beside the running engine and get one answer. Raises Refused."""
        self._say(upgrade.TESTING)
        with _ended_by_signals():
            why = self._trial(self._document["after"])
            # An image that cannot run so at all, for want of a card say, proves nothing.
            if why and not self._trial(self._document["before"]):
                raise Refused("it was loaded beside the running engine, in vain: %s" % why)
        if why:
            print("the trial told nothing: the small model fails in it too", flush=True)

    def _trial(self, side: Mapping[str, Any]) -> str:
        """Return why the side's model gives no answer in a container of its own, or ""."""
        port = free_port()
        project = trial_project(side["compose"], port)
        if project is None:
            return ""
        stack = self._stack(project, side, self._paths.folder)
        try:
            stack.settle([_ENGINE], write=True, say=_say_nothing)
            address = "http://127.0.0.1:%d" % port
            deadline = self._ready_seconds(side)
            wait_until_ready(address + str(side["api"]["health"]), deadline, self._trial_ended)
            complete(address, str(side["api"]["model"]), _ANSWER_SECONDS)
        except DreamError as error:
            return "%s%s" % (error.what, self._trial_log())
        finally:
            stack.remove(write=True, say=_say_nothing)
        return ""

    def _ready_seconds(self, side: Mapping[str, Any]) -> float:
        size = sum(self._size_of(item) for item in side["model"]["files"])
        return _READY_SECONDS + size / _SLOW_BYTES_PER_SECOND

    def _size_of(self, item: Mapping[str, Any]) -> int:
        with contextlib.suppress(OSError):
            return os.path.getsize(os.path.join(self._paths.models, str(item["file"])))
        return 0

    def _trial_ended(self) -> str:
        states = {item["state"] for item in look(self._command, TRIAL)}
        return "" if "running" in states or "created" in states else "its container ended"

    def _trial_log(self) -> str:
        ids = [item["id"] for item in look(self._command, TRIAL)]
        if not ids:
            return ""
        said = engine.child([self._command, "logs", "--tail", "20", ids[0]]).output
        return last_words(said)

    def _stack(self, project: Mapping[str, Any], side: Mapping[str, Any], folder: str) -> Stack:
        also = {item["reference"]: item["also"] for item in side["images"] if item["also"]}
        return Stack(self._command, folder, self._paths.env_file, project, also)

    # --- switching

    def _switch(self) -> Dict[str, str]:
        """Put the model in its place and prove it; put the small one back when that fails."""
        self._say(upgrade.SWITCHING)
        try:
            return self._apply(self._document["after"])
        except DreamError as error:
            why = error.what
        try:
            self._apply(self._document["before"])
        except DreamError as error:
            both = (why, error.what)
            raise Refused("%s; and the small model does not answer: %s" % both) from None
        raise Refused("it did not answer in its place, the small model was put back: %s" % why)

    def _apply(self, side: Mapping[str, Any]) -> Dict[str, str]:
        """Make a side's configuration the one that runs; return the services that are down."""
        files.settle([], side["files"], write=True)
        envwrite.settle(
            self._paths.env_file,
            managed=side["env"],
            defaults={},
            secrets={},
            has_data=False,
            write=True,
        )
        stack = self._stack(side["compose"], side, str(self._document["install_dir"]))
        done = stack.settle(side["core"], write=True, say=_print)
        down = wait_for_services(self._command, str(side["compose"]["name"]), side["services"])
        api, url = side["api"], str(self._document["url"])
        wait_until_ready(url + str(api["health"]), self._ready_seconds(side))
        complete(url + str(api["path"]), str(api["model"]), _ANSWER_SECONDS, exact=not api["path"])
        left = stack.settle(side["core"], write=False, say=_say_nothing)["steps"]
        wrong = [step["service"] for step in left if step["service"] in side["core"]]
        if wrong:
            raise EngineError(
                "%s does not run as it was told" % ", ".join(wrong), code="SERVICE_FAILED"
            )
        return {**done["degraded"], **down}

    # --- afterwards

    def _retire_small(self) -> None:
        """Remove the small model's files, where an install of ours made them."""
        receipts, _ = receipt.read_all(self._state_dir)
        ours = {
            item["path"]
            for item in (receipts.get("models") or {}).get("resources", [])
            if item["kind"] == "model" and item["origin"] == "made" and self._may_go(item)
        }
        for path in self._small_files():
            if path in ours:
                remove(path)

    def _may_go(self, resource: Mapping[str, Any]) -> bool:
        """Tell whether the host confirms that a resource is this install's; print why not."""
        why = self._bounds.refusal(resource, "running")
        if why:
            _print("%s stays: %s" % (survey.name_of(dict(resource)), why))
        return not why

    def _small_files(self) -> List[str]:
        names = {item["file"] for item in self._document["before"]["model"]["files"]}
        names -= {item["file"] for item in self._document["model"]["files"]}
        return [os.path.join(self._paths.models, name) for name in sorted(names)]

    def _record(self, degraded: Mapping[str, str]) -> None:
        """Let the receipts say what is there now, so that the next install finds all in order."""
        receipts, _ = receipt.read_all(self._state_dir)
        self._write_summary(receipts)
        touched = self._touched()
        for name in [name for name in PHASES if receipts.get(name, {}).get("state") == "done"]:
            known = dict(receipts[name])
            known["facts"] = self._facts(name, known.get("facts") or {}, degraded)
            known["resources"] = [
                dict(item, coming=False, **_seen(item)) if _key(item) in touched else item
                for item in known["resources"]
            ]
            wanted = self._document["upgraded"].get(name)
            if wanted:
                known["inputs"] = due.complete(wanted, receipts)
            receipts[name] = known
        proof = (receipts.get("health", {}).get("facts") or {}).get("proof")
        for line in proved.keep(self._state_dir, receipts, proof) if proof else ():
            _print(line)
        # The models' last: by it a later start knows that all are written.
        for name in sorted(receipts, key=lambda name: name == "models"):
            warning = receipt.write(self._state_dir, receipts[name])
            if warning:
                _print(warning)

    def _facts(
        self, phase: str, facts: Dict[str, Any], degraded: Mapping[str, str]
    ) -> Dict[str, Any]:
        merged = {**facts, **self._document["facts"].get(phase, {})}
        if phase == "models":
            merged.pop("upgrade", None)
        if isinstance(merged.get("proof"), dict):
            # What a change that fails later is turned back to (proved.py).
            side = self._document["after"]
            asked = {"model": side["api"]["model"], "services": side["services"]}
            merged["proof"] = {**merged["proof"], **asked}
        if phase in ("health", "services") and "degraded" in merged:
            merged["degraded"] = dict(degraded)
        return merged

    def _touched(self) -> List[Any]:
        """Return the identities of all that the switch changed; the rest keeps what was seen."""
        side, install_dir = self._document["after"], str(self._document["install_dir"])
        paths = [item["path"] for item in side["files"]]
        paths += [self._paths.env_file, os.path.join(install_dir, COMPOSE_FILE)]
        paths += [str(self._document["summary_file"])]
        project = side["compose"]
        return [
            *(("file", path) for path in paths),
            *(
                ("model", os.path.join(self._paths.models, item["file"]))
                for item in self._document["model"]["files"]
            ),
            *(("container", project["name"], service) for service in project["services"]),
        ]

    def _write_summary(self, receipts: Mapping[str, Any]) -> None:
        """Write the summary as its role would: from the recorded facts with the new model."""
        before = (receipts.get("summary") or {}).get("facts") or {}
        path = str(self._document["summary_file"])
        if before and os.path.isfile(path):
            document = {**before, **self._document["facts"].get("summary", {})}
            text = json.dumps(document, indent=4, sort_keys=True) + "\n"
            atomic.write_bytes(path, text.encode(), 0o644)

    def _leave(self) -> None:
        """Remove the unit and all that was written for it; the receipts forget it last."""
        unit = self._document["unit"]
        is_ours = self._may_go(dict(unit, kind="unit")) and self._may_go(dict(unit, kind="file"))
        if is_ours:
            systemctl(str(unit["scope"]), "disable", str(unit["name"]))
        gone = [str(unit["path"])] if is_ours else []
        if os.path.isdir(self._paths.folder):
            names = sorted(os.listdir(self._paths.folder))
            gone += [os.path.join(self._paths.folder, name) for name in names]
        for path in gone:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(self._paths.folder)
        systemctl(str(unit["scope"]), "daemon-reload")
        self._forget([*gone, self._paths.folder], str(unit["name"]))

    def _forget(self, paths: Sequence[str], unit: str) -> None:
        receipts, _ = receipt.read_all(self._state_dir)
        known = receipts.get("models")
        if not known:
            return
        gone = [*paths, *(path for path in self._small_files() if not os.path.exists(path))]
        left = [
            item
            for item in known["resources"]
            if item.get("path") not in gone
            and not (item["kind"] == "unit" and item["name"] == unit)
            and item.get("project") != TRIAL
        ]
        receipt.write(self._state_dir, dict(known, resources=left))
        every = {**receipts, "models": dict(known, resources=left)}.values()
        made = [item for document in every for item in document.get("resources", [])]
        ownership.note(str(self._document["install_dir"]), made)

    def _say(self, stage: str, why: str = "", refused: Optional[Dict[str, str]] = None) -> None:
        """Leave word of what is being done, for status; bound to this start of the unit.

        What was refused is kept for the next start, which would try it in vain.
        """
        _print("%s%s" % (stage, ": " + why if why else ""))
        said = {
            "schema": upgrade.SCHEMA,
            "stage": stage,
            "why": why,
            "invocation": os.environ.get("INVOCATION_ID", ""),
            "model": self._document["model"]["id"],
            "refused": refused or self._refused(),
        }
        with contextlib.suppress(DreamError):
            atomic.write_json(self._paths.state, said)


# --- decisions --------------------------------------------------------------------------


def trial_project(project: Mapping[str, Any], port: int) -> Optional[Dict[str, Any]]:
    """Return a project of the engine alone, on ``port`` of this machine only and without cards.

    The running engine keeps its memory on the cards. None for an engine that is told its
    model in another way than by ``--model``: there the switch itself is the first proof.
    """
    service = project["services"][_ENGINE]
    command = list(service.get("command") or ())
    if "--model" not in command:
        return None
    for name, word in _TRIAL_ARGUMENTS.items():
        if name in command:
            command[command.index(name) + 1] = word
    trial = {key: service[key] for key in _TRIAL_KEEPS if key in service}
    target = service["ports"][0]["target"]
    trial.update(
        command=command,
        restart="no",
        network_mode="bridge",
        ports=[
            {"target": target, "published": str(port), "host_ip": "127.0.0.1", "protocol": "tcp"}
        ],
    )
    return {"name": TRIAL, "services": {_ENGINE: trial}, "networks": {}, "volumes": {}}


def pause(tries: int) -> float:
    """Return how long to wait after ``tries`` failures without a new byte."""
    first, most = _PAUSE_SECONDS
    return float(min(most, first * 2**tries) * random.uniform(0.8, 1.2))


def digest_of(document: Mapping[str, Any]) -> str:
    """Return what tells one upgrade from another."""
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def last_words(said: str) -> str:
    """Return the end of a log that tells of an error, for a person to read on one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
    words = " | ".join((telling or lines)[-2:])[-300:]
    return " (%s)" % words if words else ""


def _key(item: Mapping[str, Any]) -> Any:
    return receipt.identity(dict(item))


def _seen(item: Dict[str, Any]) -> Dict[str, Any]:
    return {"seen": survey.observe(item, survey.Host([item]))}


# --- effects ----------------------------------------------------------------------------


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def systemctl(scope: str, *words: str) -> None:
    """Tell the manager something; what it refuses shows in the log and on the host."""
    program = shutil.which("systemctl", path=SYSTEM_PATH)
    if program is None:
        return
    argv = [program, *(["--user"] if scope == "user" else []), *words]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    if done.returncode != 0:
        _print("%s: %s" % (" ".join(argv), done.stderr.decode("utf-8", "replace").strip()))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: a trial leaves no container behind."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text, flush=True)


def _say_nothing(text: str) -> None:
    """Take a line that a person need not read."""


def load(path: str) -> Document:
    """Return the document of an upgrade. Raises UsageError UPGRADE_UNREADABLE."""
    document, why = atomic.read_json(path)
    if not isinstance(document, dict) or document.get("schema") != upgrade.SCHEMA:
        raise UsageError(
            "%s is no upgrade of ours: %s" % (path, why or "its schema is another"),
            code="UPGRADE_UNREADABLE",
            where=path,
            hint="run dream-runner install again: it writes it anew",
        )
    return document


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the upgrade of the document that is named; ``--check`` only proves that it can start."""
    streams.keep()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        document = load(words[-1])
        return 0 if "--check" in words else Upgrader(document).run()
    except DreamError as error:
        print(error.what, file=sys.stderr, flush=True)
        return FINAL
