"""A module's work, done in Ansible's own process on localhost.

A module task costs a third of a second whatever it does: it is packed, written out, and
started in an interpreter of its own. On localhost, and where no other user is asked for, the same
function can be called instead. Long work, which has to survive on its own, stays a module.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Mapping

from ansible.plugins.action import ActionBase

from dream_runner.module_utils.dream_core.errors import DreamError


class HereOrThere(ActionBase):
    """Calls ``work`` on localhost and the module of the task's name elsewhere.

    Options are checked against ``SPEC`` either way.
    """

    SPEC: Mapping[str, Any]
    work: Callable[..., Dict[str, Any]]

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        """Return what the module would."""
        result: Dict[str, Any] = super().run(tmp, task_vars)
        if self._connection.transport != "local" or self._play_context.become:
            result.update(self._execute_module(task_vars=task_vars))
            return result
        _, given = self.validate_argument_spec(argument_spec=dict(self.SPEC))
        # Tagged strings and tuples must look as they do after a way through a pipe.
        params = json.loads(json.dumps(given))
        try:
            found = type(self).work(params, write=not self._task.check_mode)
        except DreamError as error:
            found = {"failed": True, "msg": str(error), "dream_error": error.to_dict()}
        result.update(json.loads(json.dumps(found)))
        return result
