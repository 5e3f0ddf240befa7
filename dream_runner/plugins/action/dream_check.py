"""Judge a host: in this process on localhost, through the module elsewhere.

Who resumes waits for two of these before the first new byte, and a module task costs a third of
a second.
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
        # Tuples and other in-process forms must look as they do from a remote host.
        result.update(json.loads(json.dumps(found)))
        return result
