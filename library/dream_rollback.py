#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Turn a change back that did not prove itself, and say why it failed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_rollback
short_description: Turn a change back that did not prove itself
version_added: 0.1.0
description:
  - For a C(rescue) after the services or their health failed. Brings back the files, containers
    and packages that the model last answered with, and asks it once more.
  - Always fails, with the error that was given; where something was turned back it says so.
  - Does nothing where nothing was changed since the last answer.
options:
  failed:
    description: C(msg) and C(dream_error) of the result that failed.
    type: dict
    required: true
  phase: {description: The phase that failed., type: str, required: true}
  state_dir: {description: The state directory of the target user., type: path, required: true}
  install_dir: {description: The install directory., type: path, required: true}
  profile: {description: The profile that is being installed., type: str, required: true}
  command: {description: The container engine's program., type: str, default: docker}
  socket: {description: The wrapper's socket., type: str, default: ""}
attributes:
  check_mode: {description: Fails as it was told and turns nothing back., support: full}
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
dream_error: {description: The failure as data., type: dict, returned: "when there is one"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import EngineError, from_dict
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask
from ansible.module_utils.dream_core.undo.rollback import turn_back

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
        said, code="SERVICE_FAILED", hint="log.txt of this run has the whole output"
    )
    ended = failed
    if not module.check_mode:
        with Lifeline(asked["socket"], asked["phase"]) as line:
            ended = turn_back(
                failed,
                asked["state_dir"],
                asked["install_dir"],
                asked["profile"],
                asked["command"],
                line.notice,
            )
    if ended is failed and told is None:
        # What the message of a module of Ansible's means is the wrapper's business.
        module.fail_json(msg=said)
    module.fail_json(msg=str(ended), dream_error=ended.to_dict())


if __name__ == "__main__":
    main()
