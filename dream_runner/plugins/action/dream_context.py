"""Observe the host and decide: the variables that every phase uses.

The observation runs on the host (in this process on localhost). The decision needs the catalogue
and is made here, by the same pure function as in the wrapper's plan.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List

from ansible.plugins.action import ActionBase

from dream_runner import __version__, catalog, paths
from dream_runner.decide import fast_start
from dream_runner.decide.host_decision import decide_for, due_for, inputs_for
from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.look.host import look
from dream_runner.module_utils.dream_core.records.receipt import interrupted
from dream_runner.module_utils.dream_core.types.host import Session
from dream_runner.module_utils.dream_core.upgrade import progress
from dream_runner.run import host_answers
from dream_runner.settings import local_model


class ActionModule(ActionBase):
    """Return host, session, choice and state, which the context play saves."""

    _VALID_ARGS = frozenset(("settings", "state_dir", "force", "full", "verify", "unanswered"))

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            found = self._look(task_vars)
            if found.get("failed"):
                result.update(found)
                return result
            result.update(self._decide(found["context"], task_vars or {}), changed=False)
        except DreamError as error:
            result.update(failed=True, msg=str(error), dream_error=error.to_dict())
        return result

    def _look(self, task_vars: Any) -> Dict[str, Any]:
        arguments = dict(self._task.args, version=__version__)
        arguments.pop("unanswered", None)
        if self._connection.transport != "local" or self._play_context.become:
            answered = self._execute_module(
                "dream_context", module_args=arguments, task_vars=task_vars
            )
            if not answered.get("failed"):
                host_answers.require(answered.get("context"), host_answers.CONTEXT)
            return answered
        found = look(
            state_dir=os.path.expanduser(arguments["state_dir"]),
            install_dir=arguments["settings"]["install_dir"],
            version=__version__,
            bundle=str(arguments["settings"].get("bundle") or ""),
            force=bool(arguments.get("force", False)),
            full=bool(arguments.get("full", False)),
            verify=bool(arguments.get("verify", False)),
            save=not self._task.check_mode,
        )
        # Convert tuples and other types to what a remote host would return.
        return {"context": json.loads(json.dumps(found))}

    def _decide(self, found: Dict[str, Any], task_vars: Dict[str, Any]) -> Dict[str, Any]:
        settings = dict(self._task.args["settings"])
        settings["install_dir"] = _absolute(found["install_dir"], found["session"])
        choice = decide_for(
            found,
            settings,
            catalog.load(),
            in_fleet="dream_fleet_peers" in task_vars,
            described=local_model.described(settings),
        )
        wanted = inputs_for(found, settings, choice, task_vars)
        reasons = due_for(
            found,
            settings,
            wanted,
            full=bool(self._task.args.get("full", False)),
            is_silent=bool(self._task.args.get("unanswered", False)),
        )
        upgraded = None
        if choice["upgrade"]:
            # The content of the receipts after the switch to the host's own model.
            upgraded = inputs_for(found, settings, fast_start.after(choice), task_vars)
        _resolve_package_urls([choice["model"], *progress.first_files(choice)])
        return {
            "wanted": wanted,
            "upgraded": upgraded,
            # The health phase always runs: ready means that the model answers now.
            "due": [name for name, reason in reasons.items() if reason.is_due or name == "health"],
            "reasons": {name: list(reason) for name, reason in reasons.items()},
            "host": found["facts"],
            "session": found["session"],
            "install_dir": settings["install_dir"],
            "choice": choice,
            "state": {
                "dir": os.path.expanduser(self._task.args["state_dir"]),
                "receipts": found["receipts"],
                "interrupted": interrupted(found["receipts"]),
            },
            "version": __version__,
            "warnings": found["notes"] if found["facts_source"] != "cache" else [],
        }


def _absolute(path: str, session: Session) -> str:
    """Return the install directory with ~ resolved for the target's user, not for this process."""
    home = str(session["home"])
    return os.path.normpath(home + path[1:] if path == "~" or path.startswith("~/") else path)


def _resolve_package_urls(items: List[Dict[str, Any]]) -> None:
    """Replace ``package:NAME`` with the URL of a file in the package."""
    for item in items:
        item["urls"] = [
            "file://" + str(paths.catalog() / url[len("package:") :])
            if url.startswith("package:")
            else url
            for url in item["urls"]
        ]
