#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Record on the host that a phase begins or ends."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_phase
short_description: Record on the host that a phase begins or ends
version_added: 0.1.0
description:
  - Writes the receipt of a phase, before it touches anything (O(state=running)) and after its
    work is proved (O(state=done)).
  - A receipt that cannot be written is a warning; the phase goes on.
  - Never reports a change.
options:
  phase: {description: Name of the phase., type: str, required: true}
  state:
    description: What to record.
    type: str
    choices: [running, done, failed]
    required: true
  resources:
    description: Resources that the phase manages (docs/developer/contracts.md lists the kinds).
    type: list
    elements: dict
    default: []
  facts: {description: Facts for later phases and runs., type: dict, default: {}}
  state_dir: {description: State directory of the target user., type: path, required: true}
  stamp: {description: "Version, run id and install directory.", type: dict, default: {}}
  wanted: {description: Inputs of the phase., type: dict, default: {}}
attributes:
  check_mode: {description: "Reads; writes nothing.", support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Record that the phase is running
  dream_phase:
    phase: directories
    state: running
    state_dir: "{{ dream_state_dir }}"
    resources: [{kind: directory, path: /srv/ai, mode: "0755"}]
"""

RETURN = r"""
interrupted:
  description: Whether an earlier run of the phase did not end.
  type: bool
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.records.record_phase import record
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "phase": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["running", "done", "failed"], "required": True},
    "resources": {"type": "list", "elements": "dict", "default": []},
    "facts": {"type": "dict", "default": {}},
    "state_dir": {"type": arguments.path, "required": True},
    "stamp": {"type": "dict", "default": {}},
    "wanted": {"type": "dict", "default": {}},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        done = record(write=not module.check_mode, **module.params)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    for warning in done["warnings"]:
        module.warn(warning)
    module.exit_json(changed=False, interrupted=done["interrupted"])


if __name__ == "__main__":
    main()
