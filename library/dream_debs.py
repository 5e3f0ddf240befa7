#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Choose the Debian packages of a bundle that a host lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_debs
short_description: Choose the Debian packages of a bundle that a host lacks
version_added: 0.1.0
description:
  - Finds the package files of O(names) and of the dependencies that the host lacks, and verifies
    each with the bundle's list of digests. Installs nothing.
options:
  names: {description: Names of the missing packages., type: list, elements: str, required: true}
  bundle: {description: "Directory of the bundle (empty: none).", type: str, default: ""}
  offline: {description: Fail if the bundle lacks one of them., type: bool, default: false}
attributes:
  check_mode: {description: Works in the same way., support: full}
  diff_mode: {description: There is nothing to show., support: none}
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
  description: Names that the bundle lacks.
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
