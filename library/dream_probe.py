#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Wait for services and ask the model one question."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_probe
short_description: Ask the model one question
version_added: 0.1.0
description:
  - Waits until the engine's health path answers, then asks the model one question. With
    O(services), it waits for all of them in parallel, each with its own time limit.
  - Succeeds only when the answer has text and every core service is up. Changes nothing.
options:
  url:
    description: Base address of the engine. Name 127.0.0.1, not localhost, which may be IPv6.
    type: str
    required: true
  health_path: {description: Path that responds with 200., type: str, default: /health}
  model: {description: Name of the model to ask., type: str, required: true}
  deadline_seconds:
    description: Seconds to wait for the server, and then again for the answer.
    type: int
    default: 300
  watch:
    description:
      - The unit or supervised program that runs the engine, as a resource of a receipt.
      - Stops waiting if it has failed permanently.
    type: dict
  services:
    description: The services of C(dream_choice.stack); only core services must be up.
    type: list
    elements: dict
    default: []
  project:
    description: "Compose project of the services; without one, they run without containers."
    type: str
    default: ""
  command: {description: Client program of the container engine., type: str, default: docker}
  log: {description: Log file whose last lines are shown after a failure., type: path}
  page:
    description: Also request the chat page at C(/), as a browser does.
    type: bool
    default: false
  features:
    description:
      - Also test each feature of O(services) once, through the pages themselves. A feature that
        does not work is reported, but the task does not fail.
      - C(env_file) has the accounts; C(offline) leaves out what needs a network; C(upgrading)
        leaves out what the small model of a fast start cannot do.
    type: dict
  key_file:
    description: The C(.env) file with the engine's API key, if the engine requires one.
    type: path
attributes:
  check_mode: {description: "Asks nothing, because the engine may not run yet.", support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Ask the model one question
  dream_probe:
    url: http://127.0.0.1:11434
    model: smoke
"""

RETURN = r"""
ready_seconds:
  description: Seconds until the health path responded.
  type: float
  returned: success
answer_seconds:
  description: Seconds until the answer was complete.
  type: float
  returned: success
answer_characters: {description: Length of the answer., type: int, returned: success}
busy:
  description: Whether the engine was answering other clients all the time, which is proof enough.
  type: bool
  returned: success
features:
  description: Which features C(passed), which C(failed) and which are C(unproven), with the reason.
  type: dict
  returned: success
down:
  description: Optional services that are not up, with the reason.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.health.readiness import SPEC, carry_out
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
