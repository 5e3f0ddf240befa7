#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Keep a packed program running on a host without a service manager."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_background
short_description: Keep a packed program running on a host without a service manager
version_added: 0.1.0
description:
  - Starts a keeper in a separate session. The keeper restarts the program whenever it fails, until
    the program succeeds or gives up. Both are found by their command lines, not by a pid file.
  - After a reboot nothing runs until the module is used again.
options:
  program: {description: The packed program (dream_program)., type: path, required: true}
  document: {description: File that tells the program what to do., type: path, required: true}
  python: {description: Interpreter that runs the program., type: path}
  log: {description: File for its output., type: path}
  group: {description: Group to start it with (sg); empty for none., type: str, default: ""}
  state:
    description: V(absent) stops the keeper and the program.
    type: str
    choices: [present, absent]
    default: present
  restart: {description: Restart even if it runs., type: bool, default: false}
attributes:
  check_mode: {description: Reports what would change; changes nothing., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Keep the upgrade running
  dream_background:
    program: /srv/ai/upgrade/upgrade.pyz
    document: /srv/ai/upgrade/upgrade.json
    python: /usr/bin/python3
    log: /srv/ai/logs/upgrade.log
"""

RETURN = r"""
action:
  description: Why it was started or stopped; empty if it was not.
  type: str
  returned: success
was_running: {description: Whether it ran before., type: bool, returned: success}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.native import background
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "program": {"type": arguments.path, "required": True},
    "document": {"type": arguments.path, "required": True},
    "python": {"type": arguments.path},
    "log": {"type": arguments.path},
    "group": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "restart": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[("state", "present", ("python", "log"))],
        supports_check_mode=True,
    )
    asked = module.params
    wanted = background.Program(
        asked["python"] or "",
        asked["program"],
        asked["document"],
        asked["log"] or "",
        asked["group"],
    )
    was_running = not background.problem(wanted)
    try:
        if asked["state"] == "absent":
            action = leave(wanted, write=not module.check_mode)
        else:
            action = background.ensure(wanted, asked["restart"], write=not module.check_mode)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(changed=bool(action), action=action, was_running=was_running)


def leave(wanted, write):
    if not any(wanted.processes().values()):
        return ""
    if write:
        background.stop(wanted)
    return "it is no longer needed"


if __name__ == "__main__":
    main()
