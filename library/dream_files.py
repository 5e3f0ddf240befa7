#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Create many directories and small files in one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_files
short_description: Create many directories and small files in one task
version_added: 0.1.0
description:
  - Creates directories, then writes files whose content differs, each with its exact mode.
  - Replaces a file atomically and durably. Changes nothing that is not listed.
options:
  directories:
    description: Directories, in the order of their creation.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Permission bits in octal., type: str, required: true}
      owner: {description: "Numeric user and group (empty: keep both).", type: str, default: ""}
      data:
        description: Create it once; a service may change its mode and owner later.
        type: bool
        default: false
  files:
    description: Files without secret content.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Permission bits in octal., type: str, required: true}
      content: {description: The whole content., type: str, required: true}
      replace_link:
        description: Replace a link instead of failing; its target stays unchanged.
        type: bool
        default: false
attributes:
  check_mode: {description: Compares; writes nothing., support: full}
  diff_mode: {description: Shows what differs., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Create the directories and files
  dream_files:
    directories: [{path: /srv/ai, mode: "0755"}]
    files: [{path: /srv/ai/engine.json, mode: "0644", content: "{}"}]
"""

RETURN = r"""
changes:
  description: Each path that differed, with its former state.
  type: list
  elements: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.files.wanted_files import SPEC, carry_out
from ansible.module_utils.dream_core.system.umask import tighten_umask


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        module.exit_json(**carry_out(module.params, write=not module.check_mode))
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())


if __name__ == "__main__":
    main()
