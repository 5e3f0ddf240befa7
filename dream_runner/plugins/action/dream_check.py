"""Check a host: in this process on localhost, else by the module.

A resumed install runs two of these checks before its first download, and a module task takes a
third of a second.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict

from ansible.plugins.action import ActionBase

from dream_runner.module_utils.dream_core.checks.judge import judge


class ActionModule(ActionBase):
    """Return the same as the module."""

    _VALID_ARGS = frozenset(
        (
            *("phase", "settings", "host", "session", "choice", "receipts"),
            *("state_dir", "force", "packages", "python"),
        )
    )

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self._connection.transport != "local" or self._play_context.become:
            result.update(
                self._execute_module("dream_check", module_args=arguments, task_vars=task_vars)
            )
            return result
        arguments["state_dir"] = os.path.expanduser(arguments["state_dir"])
        found = judge(arguments, may_write=not self._task.check_mode)
        # Convert tuples and other types to what a remote host would return.
        result.update(json.loads(json.dumps(found)))
        return result
