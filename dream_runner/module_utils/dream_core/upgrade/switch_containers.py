"""The upgrade of an engine in a container: test a model, switch to it, report the changes."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional

from ..containers import engine_child
from ..containers.compose_project import FILE as COMPOSE_FILE
from ..containers.compose_project import Stack
from ..containers.project_containers import look
from ..errors import DreamError, EngineError
from ..files import wanted_files
from ..health.ask_model import complete, wait_until_ready
from ..health.readiness import wait_for_services
from ..types.compose import Project
from ..types.receipt import PhaseFacts
from ..types.resource import Resource
from ..types.upgrade import SideName, UpgradeDocument, UpgradeSide
from . import progress, trial

#: The compose project of the trial, by which the container of a killed trial is found.
TRIAL = "dream-runner-trial"
_ENGINE = "llama-server"
#: Settings that a trial does not need: it only loads the file and generates one word.
_TRIAL_ARGUMENTS = {"--ctx-size": str(trial.CONTEXT_TOKENS), "--parallel": "1"}
_TRIAL_ENVIRONMENT = {"LLAMA_ARG_N_GPU_LAYERS": "0"}
_TRIAL_KEEPS = ("image", "pull_policy", "entrypoint", "user", "environment", "volumes")


class Containers:
    """The engine of the full profile, with both sides of the switch."""

    def __init__(
        self, document: UpgradeDocument, paths: progress.Paths, say: Callable[[str], None]
    ):
        self._document = document
        self._paths = paths
        self._say = say
        self._command = str(document["command"])

    def reason_to_wait(self) -> str:
        """Return "": the document describes both sides, so the switch never has to wait."""
        return ""

    @trial.ended_by_signals()
    def trial(self, name: SideName) -> str:
        """Test a side's model in a separate container; return why it does not answer, or ""."""
        side = self._document[name]
        port = trial.free_port()
        project = trial_project(side["compose"], port)
        if project is None:
            return ""
        stack = self._stack(project, side, self._paths.folder)
        try:
            stack.settle([_ENGINE], write=True, say=_say_nothing)
            address = "http://127.0.0.1:%d" % port
            seconds = trial.ready_seconds(self._paths.models, side["model"])
            wait_until_ready(address + str(side["api"]["health"]), seconds, self._trial_ended)
            complete(address, str(side["api"]["model"]), trial.ANSWER_SECONDS)
        except DreamError as error:
            return "%s%s" % (error.what, self._trial_log())
        finally:
            stack.remove(write=True, say=_say_nothing)
        return ""

    def _trial_ended(self) -> str:
        states = {item["state"] for item in look(self._command, TRIAL)}
        return "" if "running" in states or "created" in states else "its container exited"

    def _trial_log(self) -> str:
        ids = [item["id"] for item in look(self._command, TRIAL)]
        if not ids:
            return ""
        return trial.last_words(
            engine_child.child([self._command, "logs", "--tail", "20", ids[0]]).output
        )

    def _stack(self, project: Project, side: UpgradeSide, folder: str) -> Stack:
        also = {item["reference"]: item["also"] for item in side["images"] if item["also"]}
        return Stack(self._command, folder, self._paths.env_file, project, also)

    def apply(self, name: SideName) -> Dict[str, str]:
        """Start a side's configuration and test it; return the optional services that are down."""
        side = self._document[name]
        wanted_files.settle([], side["files"], write=True)
        progress.write_env(self._paths.env_file, side["env"])
        stack = self._stack(side["compose"], side, str(self._document["install_dir"]))
        done = stack.settle(side["core"], write=True, say=self._say)
        down = wait_for_services(self._command, str(side["compose"]["name"]), side["services"])
        api, url = side["api"], str(self._document["url"])
        seconds = trial.ready_seconds(self._paths.models, side["model"])
        wait_until_ready(url + str(api["health"]), seconds)
        # Earlier versions used Lemonade, which has another API path and other model names.
        path = str(api.get("path") or "")
        complete(url + path, str(api["model"]), trial.ANSWER_SECONDS, exact=not path)
        self._check(stack, side["core"])
        return {**done["degraded"], **down}

    def _check(self, stack: Stack, core: List[str]) -> None:
        left = stack.settle(core, write=False, say=_say_nothing)["steps"]
        wrong = [step["service"] for step in left if step["service"] in core]
        if wrong:
            raise EngineError(
                "%s is not running as configured" % ", ".join(wrong), code="SERVICE_FAILED"
            )

    def touched(self) -> List[Any]:
        """Return the identities of the resources that a switch changes."""
        side = self._document["after"]
        paths = [item["path"] for item in side["files"]]
        paths += [
            self._paths.env_file,
            os.path.join(str(self._document["install_dir"]), COMPOSE_FILE),
        ]
        project = side["compose"]
        services = [("container", project["name"], service) for service in project["services"]]
        return [*(("file", path) for path in paths), *services]

    def facts(self) -> Dict[str, PhaseFacts]:
        """Return the phases' facts that only this kind of engine has."""
        return {}

    def owns(self, resource: Resource) -> bool:
        """Return whether a resource of a receipt belongs to the trial."""
        return resource.get("project") == TRIAL


def trial_project(project: Project, port: int) -> Optional[Project]:
    """Return a project of only the engine, on ``port`` of this machine and without GPUs.

    The running engine keeps its GPU memory. Returns None for an engine that does not take its model
    from ``--model``: there the switch itself is the first test.
    """
    service = project["services"][_ENGINE]
    command = list(service.get("command") or ())
    if "--model" not in command:
        return None
    for name, word in _TRIAL_ARGUMENTS.items():
        if name in command:
            command[command.index(name) + 1] = word
    found = {key: service[key] for key in _TRIAL_KEEPS if key in service}
    found["environment"] = {**found.get("environment", {}), **_TRIAL_ENVIRONMENT}
    target = service["ports"][0]["target"]
    published = {
        "target": target,
        "published": str(port),
        "host_ip": "127.0.0.1",
        "protocol": "tcp",
    }
    found.update(command=command, restart="no", network_mode="bridge", ports=[published])
    return {"name": TRIAL, "services": {_ENGINE: found}, "networks": {}, "volumes": {}}


def _say_nothing(text: str) -> None:
    """Drop a message that nobody needs to read."""
