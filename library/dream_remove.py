#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Uninstall what the receipts list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_remove
short_description: Uninstall what the receipts list
version_added: 0.1.0
description:
  - Stops and removes what an install created on this host, in reverse order, and nothing else.
  - Keeps models and secrets unless O(purge=true). Restores files that existed before.
  - With O(purge=true), also removes the packages that an install added and nothing else needs.
  - Continues after an error, and fails at the end with a list of what is left.
options:
  state_dir: {description: State directory of the target user., type: path, required: true}
  home: {description: Home directory of the target user., type: path, required: true}
  purge: {description: "Remove models, secrets and saved answers too.", type: bool, default: false}
attributes:
  check_mode: {description: Lists what would be removed., support: full}
  diff_mode: {description: Shows a list of what is removed., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Remove what the receipts list
  dream_remove:
    state_dir: "{{ dream_state_dir }}"
    home: "{{ ansible_env.HOME }}"
"""

RETURN = r"""
removed: {description: What was removed., type: list, elements: str, returned: always}
restored: {description: What was restored., type: list, elements: str, returned: always}
kept: {description: What was kept on purpose., type: list, elements: str, returned: always}
left: {description: What could not be removed., type: list, elements: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import PrivilegeError
from ansible.module_utils.dream_core.system.umask import tighten_umask
from ansible.module_utils.dream_core.undo.uninstall import remove

SPEC = {
    "state_dir": {"type": arguments.path, "required": True},
    "home": {"type": arguments.path, "required": True},
    "purge": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    done = remove(
        module.params["state_dir"],
        module.params["home"],
        purge=module.params["purge"],
        dry=module.check_mode,
    )
    diff = {"before": "\n".join(done["removed"] + done["restored"]) + "\n", "after": ""}
    if done["left"]:
        error = PrivilegeError(
            "could not remove %s" % "; ".join(done["left"]),
            code="LEFT_BEHIND",
            hint="correct the causes, then run uninstall again; everything else is removed",
        )
        module.fail_json(msg=str(error), dream_error=error.to_dict(), diff=diff, **done)
    module.exit_json(changed=bool(done["removed"] or done["restored"]), diff=diff, **done)


if __name__ == "__main__":
    main()
