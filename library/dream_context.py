#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Look at a host: facts, session, receipts, listeners."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_context
short_description: Look at a host before any phase
version_added: 0.1.0
description:
  - Loads or gathers the facts, and reads the receipts, the account and the listeners.
  - Its action plugin, which runs on the controller, adds the decisions that follow.
options:
  settings: {description: The settings under their short names., type: dict, required: true}
  state_dir: {description: State directory of the target user., type: path, required: true}
  version: {description: Version of dream-runner., type: str, required: true}
  force: {description: Gather the facts again., type: bool, default: false}
  full:
    description: Run every phase, even if its receipt says that it is done.
    type: bool
    default: false
  verify: {description: Read every file to compare it., type: bool, default: false}
attributes:
  check_mode: {description: Does not cache the facts., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Look at the host
  dream_context:
    settings: "{{ dream_settings }}"
    state_dir: "{{ dream_state_dir }}"
    version: 0.1.0
"""

RETURN = r"""
context: {description: Everything that was found., type: dict, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.look.host import look
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "settings": {"type": "dict", "required": True},
    "state_dir": {"type": arguments.path, "required": True},
    "version": {"type": "str", "required": True},
    "force": {"type": "bool", "default": False},
    "full": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        found = look(
            state_dir=module.params["state_dir"],
            install_dir=module.params["settings"]["install_dir"],
            version=module.params["version"],
            bundle=str(module.params["settings"].get("bundle") or ""),
            force=module.params["force"],
            full=module.params["full"],
            verify=module.params["verify"],
            save=not module.check_mode,
        )
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(changed=False, context=found)


if __name__ == "__main__":
    main()
