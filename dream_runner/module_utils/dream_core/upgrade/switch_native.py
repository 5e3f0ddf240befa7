"""The upgrade of the native engine: test a model, switch to it, report the changes.

The services role writes both sides of the switch as files beside the upgrade's document, rendered
like the engine's current configuration: ``before.json`` with the small model, ``after.json`` with
the host's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple, cast

from ..errors import DreamError, EngineError
from ..files import json_file, logs, wanted_files
from ..health import engine_key
from ..health.ask_model import complete, wait_until_ready
from ..native import supervisord, supervisord_program
from ..system import systemd
from ..system.process import end_child, small_environment, start_child
from ..system.processes import command_lines
from ..types.receipt import PhaseFacts
from ..types.resource import Resource
from ..types.upgrade import NativeSide, SideName, UpgradeDocument
from . import progress, trial

_HEALTH = "/health"
_STOP_SECONDS = 20.0
_SIDES: Tuple[SideName, ...] = ("before", "after")


class Native:
    """The engine of the native profile, with both sides of the switch."""

    def __init__(
        self, document: UpgradeDocument, paths: progress.Paths, say: Callable[[str], None]
    ):
        self._document = document
        self._paths = paths
        self._say = say

    def reason_to_wait(self) -> str:
        """Return why the switch cannot begin yet, or an empty string."""
        for name in _SIDES:
            found, _ = json_file.read_json(self._paths.side(name))
            wanted = self._document[name]["model"]["sha256"]
            if not isinstance(found, dict) or found.get("sha256") != wanted:
                return (
                    "the engine's configuration for %s is not written yet"
                    % (self._document[name]["model"]["id"])
                )
        return ""

    def _side(self, name: SideName) -> NativeSide:
        """Read a side. Raises EngineError if it cannot be read."""
        found, why = json_file.read_json(self._paths.side(name))
        if not isinstance(found, dict):
            raise EngineError(
                "%s cannot be read: %s" % (self._paths.side(name), why or "it is missing"),
                code="UPGRADE_UNREADABLE",
                where=self._paths.side(name),
                hint="run 'dream-runner install' again to rewrite the file",
            )
        return cast("NativeSide", found)

    # --- try

    @trial.ended_by_signals()
    def trial(self, name: SideName) -> str:
        """Test a side's model in a second engine; return why it does not answer, or ""."""
        side, port = self._side(name), trial.free_port()
        json_file.write_json(self._paths.trial, trial_config(side["config"], port))
        log = os.path.join(self._paths.folder, "trial.log")
        try:
            with self._engine([*side["command"][:2], self._paths.trial], log) as process:
                address = "http://127.0.0.1:%d" % port
                seconds = trial.ready_seconds(self._paths.models, self._document[name]["model"])
                wait_until_ready(address + _HEALTH, seconds, lambda: _ended(process))
                self._ask(address, side)
        except DreamError as error:
            return "%s%s" % (error.what, trial.last_words("\n".join(logs.last_lines(log, 20))))
        finally:
            for path in (self._paths.trial, log):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        return ""

    @contextlib.contextmanager
    def _engine(self, argv: List[str], log: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a second engine, which stops with the block and with this process."""
        with open(log, "wb") as output:
            process = start_child(
                argv,
                environment=small_environment(),
                directory=str(self._document["install_dir"]),
                output=output,
            )
        # If memory runs out, the kernel kills the trial and not the engine that serves users.
        with contextlib.suppress(OSError), open("/proc/%d/oom_score_adj" % process.pid, "w") as it:
            it.write("900")
        try:
            yield process
        finally:
            end_child(process, _STOP_SECONDS)

    def _ask(self, url: str, side: NativeSide) -> None:
        """Get one answer from this side's model. Raises EngineError."""
        key = engine_key.api_key(self._paths.env_file)
        complete(url, str(side["config"]["alias"]), trial.ANSWER_SECONDS, exact=True, key=key)

    # --- switch

    def apply(self, name: SideName) -> Dict[str, str]:
        """Start a side's configuration and test it; return an empty dictionary."""
        side = self._side(name)
        changed = wanted_files.settle([], side["files"], write=True)
        progress.write_env(self._paths.env_file, self._document[name]["env"])
        self._run(side, is_new=bool(changed))
        url = str(self._document["url"])
        seconds = trial.ready_seconds(self._paths.models, self._document[name]["model"])
        wait_until_ready(url + _HEALTH, seconds)
        self._ask(url, side)
        if not self._runs(side):
            raise EngineError(
                "the engine is not running as configured",
                code="ENGINE_NOT_STARTED",
                hint="run 'dream-runner install' again",
            )
        return {}

    def _run(self, side: NativeSide, is_new: bool) -> None:
        if side["supervisor"] == "supervisord":
            program = self._program(side)
            python, environment = side["command"][0], small_environment()
            supervisord.ensure(program, python, environment, restart=is_new)
        elif is_new or not self._runs(side):
            systemd.restart(side["unit"], _scope(side))

    def _program(self, side: NativeSide) -> supervisord_program.Program:
        install_dir = str(self._document["install_dir"])
        return supervisord_program.Program(
            install_dir, side["program"], side["command"], side["log"]
        )

    def _runs(self, side: NativeSide) -> bool:
        """Return whether the running engine has the command line of this side."""
        if side["supervisor"] == "supervisord":
            return not supervisord.problem(self._program(side))
        shown = systemd.show(side["unit"], _scope(side), ("MainPID",))
        pid = int(shown.get("MainPID") or 0)
        return command_lines().get(pid) == list(side["command"])

    # --- tell

    def touched(self) -> List[Any]:
        """Return the identities of the resources that a switch changes."""
        side = self._side("after")
        paths = [*(item["path"] for item in side["files"]), self._paths.env_file]
        if side["supervisor"] == "supervisord":
            paths.append(self._program(side).config)
        return [("file", path) for path in paths]

    def facts(self) -> Dict[str, PhaseFacts]:
        """Return the phases' facts that only this kind of engine has."""
        return {"services": {"revision": self._side("after")["revision"]}}

    def owns(self, resource: Resource) -> bool:
        """Return false: no file of a trial is recorded in a receipt."""
        return False


def trial_config(config: Mapping[str, Any], port: int) -> Dict[str, Any]:
    """Return the configuration of a second engine: local, for one client, with little memory."""
    small = {"context_tokens": trial.CONTEXT_TOKENS, "parallel": 1}
    return {**config, **small, "host": "127.0.0.1", "port": port}


def _scope(side: NativeSide) -> str:
    return "user" if side["supervisor"] == "systemd-user" else "system"


def _ended(process: "subprocess.Popen[bytes]") -> str:
    status = process.poll()
    return "" if status is None else "the engine exited (%s)" % _status_in_words(status)


def _status_in_words(status: int) -> str:
    if status >= 0:
        return "exit status %d" % status
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return "signal %d" % -status
