"""Observe a host of a fleet, decide for it, and save both for the wrapper.

The answer is written to a file of mode 0600 in the run's directory. Events contain only names
and counts, so that no secret of a host gets into a journal.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict
from urllib.parse import quote

from dream_runner import __version__
from dream_runner.module_utils.dream_core.errors import DreamError, RequirementError
from dream_runner.plugins.action.dream_context import ActionModule as ContextModule
from dream_runner.run import host_answers

#: Messages of a shell, an interpreter and Ansible when Python is missing.
_NO_PYTHON = ("not found", "No such file or directory", "No python interpreters found")


class ActionModule(ContextModule):
    """Return only what the next tasks of the play need."""

    _VALID_ARGS = frozenset(
        ("settings", "state_dir", "socket", "force", "full", "verify", "answers", "may_install")
    )

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        arguments = dict(self._task.args)
        directory, may_install = arguments.pop("answers"), arguments.pop("may_install", False)
        visit = self._visit(arguments, task_vars)
        if "visit" not in visit:
            return answer_of_failure(visit, bool(may_install))
        try:
            host_answers.require(visit["visit"], host_answers.VISIT)
            # The decision needs the paths as the host resolved them.
            self._task.args["settings"]["install_dir"] = visit["visit"]["install_dir"]
            self._task.args["state_dir"] = visit["visit"]["state_dir"]
            decided = self._decide(visit["visit"]["context"], task_vars or {})
        except host_answers.NONSENSE as nonsense:
            error: DreamError = host_answers.garbage(nonsense)
            return {"failed": True, "msg": str(error), "dream_error": error.to_dict()}
        except DreamError as error:
            return {"failed": True, "msg": str(error), "dream_error": error.to_dict()}
        _leave(directory, task_vars["inventory_hostname"], visit["visit"], decided)
        return {"changed": False, "sudo": decided["session"]["sudo"], "due": decided["due"]}

    def _visit(self, arguments: Dict[str, Any], task_vars: Any) -> Dict[str, Any]:
        found: Dict[str, Any] = self._execute_module(
            "dream_survey",
            module_args=dict(arguments, version=__version__),
            task_vars=task_vars,
        )
        return found


def answer_of_failure(found: Dict[str, Any], may_install: bool) -> Dict[str, Any]:
    """Return the answer of a host whose module failed: it may lack Python, which we install."""
    words = "\n".join(str(found.get(key, "")) for key in ("msg", "module_stderr", "stderr"))
    if "dream_error" in found or not _lacks_python(found, words):
        return found
    if may_install:
        return {"changed": False, "lacks_python": True, "sudo": "", "due": []}
    error = RequirementError(
        "the host has no Python",
        code="HOST_NO_PYTHON",
        hint="use --install-python to install it with the host's package manager",
    )
    return {"failed": True, "msg": str(error), "dream_error": error.to_dict()}


def _lacks_python(found: Dict[str, Any], words: str) -> bool:
    return found.get("rc") == 127 or ("python" in words and any(w in words for w in _NO_PYTHON))


def _leave(directory: str, host: str, visit: Dict[str, Any], decided: Dict[str, Any]) -> None:
    document = {**visit, "decided": decided}
    path = os.path.join(directory, quote(host, safe="") + ".json")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(document, stream)
