#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Check a host for a phase."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_check
short_description: Check a host for a phase
version_added: 0.1.0
description:
  - Reads the current state of the host and returns all findings that speak against the phase.
  - Fails after all checks if the settings do not accept every blocker by its id. The first of these
    blockers decides the class of the error.
  - Never changes anything.
options:
  phase:
    description: Phase to check the host for.
    type: str
    choices: [amd_tuning, detection, offline, packages, preflight, requirements]
    required: true
  settings: {description: The settings under their short names., type: dict, required: true}
  host: {description: The facts document., type: dict, required: true}
  session: {description: The account on the host., type: dict, required: true}
  choice: {description: The decision., type: dict, default: {}}
  receipts: {description: The receipts by phase., type: dict, default: {}}
  state_dir: {description: State directory of the target user., type: path, required: true}
  force:
    description: Continue despite an existing or conflicting install.
    type: bool
    default: false
  packages:
    description:
      - For requirements, the packages that provide C(libgomp), C(venv) and C(certificates).
      - For packages, the names to look for, as keys.
    type: dict
    default: {}
  python:
    description: "Python that will create environments (empty: the one that runs this module)."
    type: str
    default: ""
attributes:
  check_mode: {description: Works in the same way., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Check the host
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
plan: {description: Tuning that the host should have., type: dict, returned: for amd_tuning}
reboot_pending:
  description: Settings that need a reboot.
  type: list
  elements: str
  returned: for amd_tuning
proved:
  description: Artefacts that were found, and where.
  type: list
  elements: str
  returned: for offline
interrupted_packages:
  description: Whether dpkg was interrupted.
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
