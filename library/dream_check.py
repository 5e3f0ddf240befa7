#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Judge a host for one of the phases that only look."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_check
short_description: Judge a host for one of the phases that only look
version_added: 0.1.0
description:
  - Reads the host as it is at this moment and returns everything that speaks against the phase,
    all at once.
  - Fails once, when a blocker is left that the settings do not accept by its id; the first one
    decides the class of the error.
  - Never changes anything.
options:
  phase:
    description: What to judge.
    type: str
    choices: [amd_tuning, detection, offline, packages, preflight, requirements]
    required: true
  settings: {description: The settings under their short names., type: dict, required: true}
  host: {description: The facts document., type: dict, required: true}
  session: {description: Who runs on the host., type: dict, required: true}
  choice: {description: What was decided., type: dict, default: {}}
  receipts: {description: The receipts by phase., type: dict, default: {}}
  state_dir: {description: The state directory of the target user., type: path, required: true}
  force: {description: Go past an existing or conflicting install., type: bool, default: false}
  packages:
    description:
      - For requirements the package that brings C(libgomp), C(venv) and C(certificates).
      - For packages the names to look for, as keys.
    type: dict
    default: {}
  python:
    description: The Python that will make environments; empty is the one that runs this module.
    type: str
    default: ""
attributes:
  check_mode: {description: Looks in both modes., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Judge the host
  dream_check:
    phase: preflight
    settings: "{{ dream_settings }}"
    host: "{{ dream_host }}"
    session: "{{ dream_session }}"
    state_dir: "{{ dream_state_dir }}"
"""

RETURN = r"""
findings:
  description: Each with id, severity, what, needed, found, hint, error and code.
  type: list
  elements: dict
  returned: always
accepted:
  description: Ids of blockers that the settings accept.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Packages to install.
  type: list
  elements: str
  returned: if asked for
plan: {description: What the host's tuning should be., type: dict, returned: for amd_tuning}
reboot_pending:
  description: What waits for a reboot.
  type: list
  elements: str
  returned: for amd_tuning
proved: {description: What was found and where., type: list, elements: str, returned: for offline}
interrupted_packages:
  description: Whether dpkg was stopped in the middle of its work.
  type: bool
  returned: if asked for
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.checks.judge import PHASES, judge
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "phase": {
        "type": "str",
        "choices": sorted(PHASES),
        "required": True,
    },
    "settings": {"type": "dict", "required": True},
    "host": {"type": "dict", "required": True},
    "session": {"type": "dict", "required": True},
    "choice": {"type": "dict", "default": {}},
    "receipts": {"type": "dict", "default": {}},
    "state_dir": {"type": arguments.path, "required": True},
    "force": {"type": "bool", "default": False},
    "packages": {"type": "dict", "default": {}},
    "python": {"type": "str", "default": ""},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    result = judge(module.params, may_write=not module.check_mode)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
