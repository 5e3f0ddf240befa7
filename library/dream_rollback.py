#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Roll back to the last working configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_rollback
short_description: Roll back to the last working configuration
version_added: 0.1.0
description:
  - For a C(rescue) after the services or their health failed. Restores the files, containers and
    packages of the last working configuration, and asks the model again.
  - Always fails with the given error, and says if it rolled something back.
  - Does nothing else if nothing changed since the last answer.
options:
  failed:
    description: C(msg) and C(dream_error) of the failed result.
    type: dict
    required: true
  phase: {description: Phase that failed., type: str, required: true}
  state_dir: {description: State directory of the target user., type: path, required: true}
  install_dir: {description: Install directory., type: path, required: true}
  profile: {description: Profile of this install., type: str, required: true}
  command: {description: Client program of the container engine., type: str, default: docker}
  socket: {description: The wrapper's socket., type: str, default: ""}
attributes:
  check_mode: {description: Fails with the given error; rolls nothing back., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Roll back to the last working configuration
  dream_rollback:
    failed: {msg: "it gave no answer", dream_error: {}}
    phase: health
    state_dir: /root/.local/state/dream-runner
    install_dir: /srv/ai
    profile: full
"""

RETURN = r"""
dream_error: {description: The error as data., type: dict, returned: "if there is one"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import EngineError, from_dict
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask
from ansible.module_utils.dream_core.undo.rollback import roll_back

SPEC = {
    "failed": {"type": "dict", "required": True},
    "phase": {"type": "str", "required": True},
    "state_dir": {"type": arguments.path, "required": True},
    "install_dir": {"type": arguments.path, "required": True},
    "profile": {"type": "str", "required": True},
    "command": {"type": "str", "default": "docker"},
    "socket": {"type": "str", "default": ""},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    asked = module.params
    said = str(asked["failed"].get("msg") or "the task failed")
    told = from_dict(asked["failed"].get("dream_error"))
    failed = told or EngineError(
        said, code="SERVICE_FAILED", hint="see log.txt of this run for the whole output"
    )
    ended = failed
    if not module.check_mode:
        with Lifeline(asked["socket"], asked["phase"]) as line:
            ended = roll_back(
                failed,
                asked["state_dir"],
                asked["install_dir"],
                asked["profile"],
                asked["command"],
                line.notice,
            )
    if ended is failed and told is None:
        # The wrapper explains the messages of Ansible's own modules.
        module.fail_json(msg=said)
    module.fail_json(msg=str(ended), dream_error=ended.to_dict())


if __name__ == "__main__":
    main()
