#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Keep one program running under supervisord."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_supervisor
short_description: Keep one program running under supervisord
version_added: 0.1.0
description:
  - Writes the configuration, starts the daemon, and restarts it if it was started with another
    configuration. Asks the daemon itself, not its pid file.
  - The daemon runs detached in its own session, with a small environment.
options:
  install_dir:
    description: Install directory, which holds all files.
    type: path
    required: true
  python: {description: Python of the environment with supervisor., type: path}
  program: {description: Name of the program., type: str}
  command: {description: Command of the program., type: list, elements: str}
  log: {description: File for its output., type: path}
  state:
    description: V(absent) stops supervisord and all its programs.
    type: str
    choices: [present, absent]
    default: present
  restart: {description: Restart even without a change., type: bool, default: false}
attributes:
  check_mode: {description: Compares; changes nothing., support: full}
  diff_mode: {description: Shows the configuration., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Keep the engine running
  dream_supervisor:
    install_dir: /srv/ai
    python: /srv/ai/engine/venv/bin/python
    program: engine
    command: [/srv/ai/engine/venv/bin/python, /srv/ai/engine/dream_engine.py]
    log: /srv/ai/logs/engine.log
"""

RETURN = r"""
action: {description: Why it was started; empty if it was not., type: str, returned: success}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.native import supervisord, supervisord_program
from ansible.module_utils.dream_core.system import process
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "install_dir": {"type": arguments.path, "required": True},
    "python": {"type": arguments.path},
    "program": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
    "log": {"type": arguments.path},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "restart": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(
        argument_spec=SPEC,
        required_if=[("state", "present", ("python", "program", "command", "log"))],
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "absent":
            result = leave(module.params["install_dir"], write=not module.check_mode)
        else:
            result = settle(module.params, write=not module.check_mode)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(**result)


def leave(install_dir, write):
    config = os.path.join(install_dir, "supervisor", "supervisord.conf")
    if write:
        supervisord.stop(config)
    return {"changed": True, "action": "the profile was changed"}


def settle(asked, write):
    wanted = supervisord_program.Program(
        asked["install_dir"], asked["program"], asked["command"], asked["log"]
    )
    diff = {"before": read(wanted.config), "after": wanted.text(), "before_header": wanted.config}
    why = supervisord.problem(wanted) or ("its files changed" if asked["restart"] else "")
    if write and why:
        why = supervisord.ensure(
            wanted, asked["python"], process.small_environment(), asked["restart"]
        )
    return {"changed": bool(why), "action": why, "diff": diff}


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
