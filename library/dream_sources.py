#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Report package sources that could not be refreshed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_sources
short_description: Report package sources that could not be refreshed
version_added: 0.1.0
description:
  - Reads the output of C(apt-get update), warns about each broken source, and names its file.
  - With O(failure) it fails with an error that names the sources that need to be repaired.
options:
  output: {description: What C(apt-get update) printed., type: str, required: true}
  failure: {description: What C(apt-get install) printed when it failed., type: str, default: ""}
attributes:
  check_mode: {description: Works in the same way., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Find package sources that cannot be used
  dream_sources:
    output: "{{ lists.stderr }}"
"""

RETURN = r"""
sources:
  description: The broken sources, each with uri, file, reason and permanent.
  returned: success
  type: list
  elements: dict
dream_error: {description: The error as data., type: dict, returned: failure}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.packages.apt_sources import broken, failure, warning
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "output": {"type": "str", "required": True},
    "failure": {"type": "str", "default": ""},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    found = broken(module.params["output"])
    if module.params["failure"]:
        error = failure(found)
        if error is not None:
            module.fail_json(msg=str(error), dream_error=error.to_dict())
        # The wrapper finds the reason in apt's output: first the lists, then the packages.
        module.fail_json(msg=module.params["output"] + "\n" + module.params["failure"])
    for item in found:
        module.warn(warning(item))
    module.exit_json(changed=False, sources=[item._asdict() for item in found])


if __name__ == "__main__":
    main()
