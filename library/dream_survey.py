#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Inspect a host of a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_survey
short_description: Inspect a host of a fleet
version_added: 0.1.0
description:
  - Returns what M(dream_context) returns. For the controller it adds the paths as the host
    resolves them, the files of the model, and the model's answer to one question.
  - Fails with the reason if a fleet run cannot work with the host.
  - The action plugin of the same name adds the decision and passes the result to the wrapper.
options:
  settings: {description: The settings under their short names., type: dict, required: true}
  state_dir: {description: State directory of the target user., type: str, required: true}
  version: {description: Version of dream-runner., type: str, required: true}
  socket:
    description: Socket of the run on the host; the module ends when it closes.
    type: str
    default: ""
  force: {description: Gather the facts again., type: bool, default: false}
  full: {description: Do not compare the host with its receipts., type: bool, default: false}
  verify: {description: Read every file to compare it., type: bool, default: false}
attributes:
  check_mode: {description: Writes nothing., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Look at the host
  dream_survey:
    settings: "{{ dream_settings }}"
    state_dir: "{{ dream_state_dir }}"
    version: 0.1.0
"""

RETURN = r"""
visit: {description: Everything that was found., type: dict, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.look.fleet_visit import visit
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "settings": {"type": "dict", "required": True},
    "state_dir": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "socket": {"type": "str", "default": ""},
    "force": {"type": "bool", "default": False},
    "full": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    options = {name: value for name, value in module.params.items() if name != "settings"}
    try:
        found = visit(
            install_dir=module.params["settings"]["install_dir"],
            bundle=str(module.params["settings"].get("bundle") or ""),
            save=not module.check_mode,
            **options,
        )
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(changed=False, visit=found)


if __name__ == "__main__":
    main()
