"""Run a module's work in Ansible's own process on localhost.

Every module task takes a third of a second: the module is packed, written and started in a new
interpreter. On localhost and without another user, the same function can be called directly. Long
work, which has to survive on its own, stays in a module.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Mapping

from ansible.plugins.action import ActionBase

from dream_runner.module_utils.dream_core.errors import DreamError


class HereOrThere(ActionBase):
    """Call ``work`` on localhost, and elsewhere the module with the task's name.

    Options are checked against ``SPEC`` in both cases.
    """

    SPEC: Mapping[str, Any]
    work: Callable[..., Dict[str, Any]]

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        """Return the result of the module."""
        result: Dict[str, Any] = super().run(tmp, task_vars)
        if self._connection.transport != "local" or self._play_context.become:
            result.update(self._execute_module(task_vars=task_vars))
            return result
        _, given = self.validate_argument_spec(argument_spec=dict(self.SPEC))
        # Convert tagged strings and tuples to the form that they have after a pipe.
        params = json.loads(json.dumps(given))
        try:
            found = type(self).work(params, write=not self._task.check_mode)
        except DreamError as error:
            found = {"failed": True, "msg": str(error), "dream_error": error.to_dict()}
        result.update(json.loads(json.dumps(found)))
        return result
