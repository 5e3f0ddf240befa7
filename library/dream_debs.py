#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Choose the Debian packages of a bundle that a host lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_debs
short_description: Choose the Debian packages of a bundle that a host lacks
version_added: 0.1.0
description:
  - Finds the package files for some names, with those of their dependencies that the host has
    not, and proves each by the bundle's list of digests. Installs nothing.
options:
  names: {description: The packages that are missing., type: list, elements: str, required: true}
  bundle: {description: The bundle's directory; empty for none., type: str, default: ""}
  offline: {description: Fail where the bundle lacks one of them., type: bool, default: false}
attributes:
  check_mode: {description: Only ever looks., support: full}
  diff_mode: {description: Changes nothing., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Find the packages
  dream_debs:
    names: [libgomp1]
    bundle: /media/stick/bundle
"""

RETURN = r"""
paths: {description: Files to install together., type: list, elements: str, returned: success}
absent:
  description: Names that the bundle does not have.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.packages.bundle_debs import look
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "names": {"type": "list", "elements": "str", "required": True},
    "bundle": {"type": "str", "default": ""},
    "offline": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    wanted = module.params
    try:
        found = look(wanted["bundle"], wanted["names"], wanted["offline"])
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
