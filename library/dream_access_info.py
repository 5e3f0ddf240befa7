#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Report how to reach the installed AI."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_access_info
short_description: Report how to reach the installed AI
version_added: 0.1.0
description:
  - Returns the addresses of the chat page and of the API, for this host and for other computers,
    and who may use them. Reads the addresses of the host; changes nothing.
options:
  bind_address: {description: Address that the services listen on., type: str, required: true}
  engine_address:
    description: Address that the engine listens on, if it differs from O(bind_address).
    type: str
    default: ""
  port: {description: Port of the engine., type: int, required: true}
  ports:
    description: The ports of C(dream_choice.stack), each with its address and its sign-in.
    type: list
    elements: dict
    default: []
  features:
    description: Results of the feature tests, as M(dream_probe) returns them.
    type: dict
    default: {}
  account:
    description: The account that the chat page is created with (C(name), C(key), C(file)).
    type: dict
  model: {description: Name by which programs ask for the model., type: str, required: true}
  services:
    description: The services of C(dream_choice.stack); the chat page may be one of them.
    type: list
    elements: dict
    default: []
  key_file:
    description: The C(.env) file with the engine's API key, if the engine requires one.
    type: path
  port_notes:
    description: Messages about ports that other programs use.
    type: list
    elements: str
    default: []
  engine_page:
    description: The engine's own page is open to everybody who reaches the pages (native profile).
    type: bool
    default: false
attributes:
  check_mode: {description: Changes nothing., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Get the addresses of the AI
  dream_access_info:
    bind_address: 0.0.0.0
    port: 11434
    model: smoke
"""

RETURN = r"""
access:
  description: Addresses, the model's name, and who can use it from other computers.
  type: dict
  returned: success
lines: {description: The same as text., type: list, elements: str, returned: success}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.health.access import SPEC, carry_out
from ansible.module_utils.dream_core.system.umask import tighten_umask


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    module.exit_json(**carry_out(module.params, write=not module.check_mode))


if __name__ == "__main__":
    main()
