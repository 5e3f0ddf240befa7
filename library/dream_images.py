#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Make container images available by digest."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_images
short_description: Make container images available by digest
version_added: 0.1.0
description:
  - Loads images from a bundle and pulls the others in parallel, each by C(NAME@sha256:DIGEST) or
    its id, so that the engine verifies it.
  - Retries after temporary errors (network, rate limits), not after permanent ones (not found, no
    permission, no space). There is no total timeout; a connection without data for minutes is
    closed.
  - Reports progress to the wrapper's socket, and ends when it closes. Finished layers are kept.
options:
  images:
    description: The images of C(dream_choice.stack).
    type: list
    elements: dict
    required: true
    suboptions:
      service: {description: Service that uses the image., type: str, required: true}
      tag: {description: Its readable name., type: str, required: true}
      reference: {description: NAME@sha256:DIGEST or an id., type: str, required: true}
      also: {description: Another id of the image., type: str, default: ""}
      archive:
        description: "Its file in the bundle (empty: pull it)."
        type: str
        default: ""
      platform: {description: Its platform, for example V(linux/amd64)., type: str, required: true}
  core:
    description: Services that must have their image. If another one lacks it, that is reported.
    type: list
    elements: str
    default: []
  command: {description: Client program of the engine., type: str, default: docker}
  bundle: {description: Directory that archives are relative to., type: str, default: ""}
  offline: {description: Use no network., type: bool, default: false}
  attempts: {description: Attempts for each image., type: int, default: 4}
  parallel: {description: Number of images to pull in parallel., type: int, default: 3}
  socket: {description: The wrapper's socket., type: str, default: ""}
  phase: {description: Phase to report progress for., type: str, default: images}
attributes:
  check_mode: {description: Reports missing images; fetches nothing., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Make the images available
  dream_images:
    images: "{{ dream_choice.stack.images }}"
    core: [llama-server]
"""

RETURN = r"""
fetched:
  description: Names of images that were missing.
  type: list
  elements: str
  returned: success
degraded:
  description: Services without their image, with the reason.
  type: dict
  returned: success
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.containers.images import settle
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask

IMAGE = {
    "service": {"type": "str", "required": True},
    "tag": {"type": "str", "required": True},
    "reference": {"type": "str", "required": True},
    "also": {"type": "str", "default": ""},
    "archive": {"type": "str", "default": ""},
    "platform": {"type": "str", "required": True},
}
SPEC = {
    "images": {"type": "list", "elements": "dict", "required": True, "options": IMAGE},
    "core": {"type": "list", "elements": "str", "default": []},
    "command": {"type": "str", "default": "docker"},
    "bundle": {"type": "str", "default": ""},
    "offline": {"type": "bool", "default": False},
    "attempts": {"type": "int", "default": 4},
    "parallel": {"type": "int", "default": 3},
    "socket": {"type": "str", "default": ""},
    "phase": {"type": "str", "default": "images"},
}
#: The engine reports ten times a second for each layer.
_REPORT_SECONDS = 0.5


class Reporter:
    """Report progress, at most twice a second."""

    def __init__(self, line):
        self._line = line
        self._said = {}

    def __call__(self, what, done, total, note):
        now = time.monotonic()
        began, last, sent = self._said.get(what, (now, 0.0, None))
        final = total and done >= total
        if (done, total, note) == sent or not (final or note or now - last >= _REPORT_SECONDS):
            return
        rate = done / (now - began) if now > began else 0.0
        self._said[what] = (began, now, (done, total, note))
        self._line.progress(what, done, total, rate, note)


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    wanted = module.params
    try:
        with Lifeline(wanted["socket"], wanted["phase"]) as line:
            done = settle(
                wanted["command"],
                wanted["images"],
                wanted["core"],
                bundle=wanted["bundle"],
                offline=wanted["offline"],
                attempts=wanted["attempts"],
                parallel=wanted["parallel"],
                write=not module.check_mode,
                on_progress=Reporter(line),
            )
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    warnings = ["%s: %s" % item for item in sorted(done["degraded"].items())]
    module.exit_json(warnings=warnings, **done)


if __name__ == "__main__":
    main()
