#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Add a signed package repository whose key is pinned by fingerprint."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_repository
short_description: Add a signed package repository whose key is pinned by fingerprint
version_added: 0.1.0
description:
  - Downloads the signing key, compares the fingerprint of every key in it, writes key and lists,
    and refreshes only this repository's lists to check its signature.
  - If a step fails, leaves the host unchanged.
  - Needs neither gpg nor another package on the host.
options:
  repository:
    description: The repository, as M(dream_docker_info) returns it in C(plan).
    type: dict
    required: true
attributes:
  check_mode: {description: Compares the files; contacts no server., support: full}
  diff_mode: {description: Shows which files differ., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Add the repository
  dream_repository:
    repository: "{{ __docker_look.plan.repositories[0] }}"
"""

RETURN = r"""
files: {description: The files that differed., type: list, elements: str, returned: success}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.packages.repository import provide
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {"repository": {"type": "dict", "required": True}}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        files = provide(module.params["repository"], dict(os.environ), write=not module.check_mode)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    diff = {"before": "", "after": "".join(path + "\n" for path in files)}
    module.exit_json(changed=bool(files), files=files, diff=diff)


if __name__ == "__main__":
    main()
