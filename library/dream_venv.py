#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Keep a virtual environment exactly as a hash-pinned list says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_venv
short_description: Keep a virtual environment exactly as a hash-pinned list says
version_added: 0.1.0
description:
  - Compares every file with the digest it had when the environment was made from verified
    packages, and makes the environment anew when one differs.
  - A killed run leaves pip's cache beside it, which the next one uses; success removes it.
  - The caller's proxy and certificate variables count, and what pip's variables and files say of
    how packages are reached. Whatever else pip can be told is not heard.
options:
  path: {description: The environment., type: path, required: true}
  requirements:
    description: A pip requirements file in which every package is pinned with C(--hash).
    type: path
    required: true
  python:
    description: Pythons to make it with, the first that can is taken. Default is the system's.
    type: list
    elements: path
    default: [/usr/bin/python3]
  find_links: {description: Directory of wheels; then no network is used., type: path}
  socket: {description: The wrapper's socket for progress and life line., type: str, default: ""}
  phase: {description: The phase that progress is reported for., type: str, default: services}
attributes:
  check_mode: {description: Compares and makes nothing., support: full}
  diff_mode: {description: Says why it would be made anew., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Install the engine's packages
  dream_venv:
    path: /srv/ai/engine/venv
    requirements: /srv/ai/engine/requirements.txt
"""

RETURN = r"""
why: {description: Why the environment was made anew., type: str, returned: success}
"""

import os
import sys
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.native.venv import ensure
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "path": {"type": arguments.path, "required": True},
    "requirements": {"type": arguments.path, "required": True},
    "python": {"type": "list", "elements": arguments.path, "default": ["/usr/bin/python3"]},
    "find_links": {"type": arguments.path},
    "socket": {"type": "str", "default": ""},
    "phase": {"type": "str", "default": "services"},
}


def _reporter(lifeline):
    """Return what hands on lines of pip, and bytes with their rate."""
    began = []

    def report(line, done, total):
        if not total:
            lifeline.progress("engine packages", 0, 0, 0, note=line)
            return
        now = time.monotonic()
        if not began or began[0] != line:
            began[:] = [line, now, done]
        passed = now - began[1]
        lifeline.progress(line, done, total, (done - began[2]) / passed if passed else 0)

    return report


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    wanted = module.params
    try:
        with Lifeline(wanted["socket"], wanted["phase"]) as lifeline:
            done = ensure(
                wanted["path"],
                wanted["requirements"],
                pythons=[*wanted["python"], sys.executable],
                environment=dict(os.environ),
                report=_reporter(lifeline),
                find_links=wanted["find_links"] or "",
                write=not module.check_mode,
            )
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    diff = {"before": done.why + "\n" if done.changed else "", "after": ""}
    module.exit_json(changed=done.changed, why=done.why, diff=diff)


if __name__ == "__main__":
    main()
