#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Build a virtual environment from a hash-pinned list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_venv
short_description: Build a virtual environment from a hash-pinned list
version_added: 0.1.0
description:
  - Compares every file with the digest that it had when the environment was built from verified
    packages, and recreates the environment if one differs.
  - An interrupted run leaves pip's cache beside it for the next one; success removes it.
  - Uses the caller's proxy and certificate variables, and pip's settings about how to reach
    packages. Ignores all other settings of pip.
options:
  path: {description: Path of the environment., type: path, required: true}
  requirements:
    description: A pip requirements file in which every package is pinned with C(--hash).
    type: path
    required: true
  python:
    description: Pythons to try; the first suitable one builds it.
    type: list
    elements: path
    default: [/usr/bin/python3]
  find_links: {description: Directory of wheels to use instead of a network., type: path}
  socket: {description: The wrapper's socket., type: str, default: ""}
  phase: {description: Phase to report progress for., type: str, default: services}
attributes:
  check_mode: {description: Compares; changes nothing., support: full}
  diff_mode: {description: Shows why it would be recreated., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Install the engine's packages
  dream_venv:
    path: /srv/ai/engine/venv
    requirements: /srv/ai/engine/requirements.txt
"""

RETURN = r"""
why: {description: Why the environment was recreated., type: str, returned: success}
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
    """Return a function that reports pip's lines, and bytes with their rate."""
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
