#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Fail with a class, a code and a hint, which decide the exit code."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_failure
short_description: Fail with a class, a code and a hint
version_added: 0.1.0
description:
  - Fails like M(ansible.builtin.fail), with an error that the wrapper turns into an exit code.
options:
  kind: {description: Class of the error in dream_core.errors., type: str, required: true}
  code: {description: Stable upper-case identifier., type: str, required: true}
  what: {description: What failed., type: str, required: true}
  where: {description: "File, port or unit.", type: str, default: ""}
  hint: {description: What the user can do., type: str, required: true}
attributes:
  check_mode: {description: Fails in the same way., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: End degraded
  dream_failure:
    kind: Degraded
    code: SERVICES_DEGRADED
    what: "these services do not run: n8n"
    hint: the others run; repair the cause, then run it again
"""

RETURN = r"""
dream_error: {description: The error as data., type: dict, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import from_dict
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "kind": {"type": "str", "required": True},
    "code": {"type": "str", "required": True},
    "what": {"type": "str", "required": True},
    "where": {"type": "str", "default": ""},
    "hint": {"type": "str", "required": True},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    error = from_dict(dict(module.params, **{"class": module.params["kind"]}))
    module.fail_json(msg=str(error), dream_error=error.to_dict())


if __name__ == "__main__":
    main()
