#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Merge an environment file and create its secrets once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_env
short_description: Merge an environment file and create its secrets once
version_added: 0.1.0
description:
  - Keeps unknown keys, comments and order; updates the managed keys; fills gaps with defaults.
  - Generates a secret only if it is missing; never shows, rotates or returns one.
  - Replaces the file atomically and keeps the previous content beside it with the suffix C(.bak).
    Restores a lost or emptied file from there.
  - Refuses to create secrets if O(proof_of_data) shows an earlier install whose secrets are lost,
    because databases and sessions depend on them.
options:
  path: {description: Path of the file., type: path, required: true}
  managed: {description: Keys that follow the settings., type: dict, default: {}}
  defaults: {description: Keys that are written only if they are missing., type: dict, default: {}}
  secrets:
    description: Keys with the form of their value, V(hex:N), V(base64:N) or V(PREFIX|hex:N).
    type: dict
    default: {}
  dormant:
    description: Secrets, in the form of O(secrets), that are kept and restored but never created.
    type: dict
    default: {}
  marked:
    description: Names of secrets whose short digest is returned, so that a change is visible.
    type: list
    elements: str
    default: []
  proof_of_data:
    description: Paths whose presence proves that an earlier install used its secrets.
    type: list
    elements: path
    default: []
attributes:
  check_mode: {description: Reports changes; writes nothing., support: full}
  diff_mode: {description: "Shows the names of keys, never a value.", support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Merge the environment file
  dream_env:
    path: /srv/ai/.env
    managed: {ENGINE_PORT: "11434"}
    secrets: {WEBUI_SECRET: "hex:32"}
"""

RETURN = r"""
added: {description: Names of keys that are new., type: list, elements: str, returned: success}
updated: {description: Keys with a new value., type: list, elements: str, returned: success}
generated: {description: Names of new secrets., type: list, elements: str, returned: success}
marks: {description: A short digest of each of O(marked)., type: dict, returned: success}
restored:
  description: Whether the file was restored from its backup.
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.files.env_file_write import SPEC, carry_out
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
