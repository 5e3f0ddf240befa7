#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Make many directories and small files at the cost of one task."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_files
short_description: Make many directories and small files at the cost of one task
version_added: 0.1.0
description:
  - Makes directories, then writes files whose content differs, each with exactly its mode.
  - A file is replaced atomically and durably. Nothing that is not listed is touched.
options:
  directories:
    description: Directories in the order in which they are made.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Permission bits in octal., type: str, required: true}
      owner: {description: Numbers of user and group; empty leaves both., type: str, default: ""}
      data:
        description: Make it once; its mode and owner are then the business of who works in it.
        type: bool
        default: false
  files:
    description: Files; for content that is secret use another module.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Permission bits in octal., type: str, required: true}
      content: {description: The whole content., type: str, required: true}
      replace_link:
        description: Take the place of a link, whose target stays as it is, instead of failing.
        type: bool
        default: false
attributes:
  check_mode: {description: Compares and writes nothing., support: full}
  diff_mode: {description: Names what differs and how., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Make the layout
  dream_files:
    directories: [{path: /srv/ai, mode: "0755"}]
    files: [{path: /srv/ai/engine.json, mode: "0644", content: "{}"}]
"""

RETURN = r"""
changes:
  description: Each path that differed, with what it was.
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
