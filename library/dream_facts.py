#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Say what this host is: hardware, memory, operating system."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_facts
short_description: Say what this host is
version_added: 0.1.0
description:
  - Returns the facts document of the host (docs/developer/captures.md lists its fields), and keeps
    it as C(ansible_facts.dream_host) for the tasks that follow.
  - Looks once and keeps the answer in the state directory, until the boot, the kernel, a device, a
    driver, the memory, the version or the install directory is another, or it is a day old.
  - A cache that cannot be read or written is a warning, never a failure.
options:
  state_dir: {description: The state directory of the target user., type: path, required: true}
  force: {description: Look again whatever the cache says., type: bool, default: false}
  max_age_seconds: {description: Age from which the cache is not used., type: int, default: 86400}
  version: {description: Version of dream-runner; another one looks again., type: str, default: ""}
  install_dir: {description: Install directory; another one looks again., type: str, default: ""}
attributes:
  check_mode: {description: "Looks, and does not write its cache.", support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Look at the hardware
  dream_facts:
    state_dir: ~/.local/state/dream-runner

- name: Show the memory and the GPUs
  ansible.builtin.debug:
    msg: "{{ ansible_facts.dream_host.memory }}, {{ ansible_facts.dream_host.gpus }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts of the host that later tasks can use.
  type: dict
  returned: always
  contains:
    dream_host: {description: The facts document., type: dict, returned: always}
facts:
  description: The facts document, for a registered variable.
  type: dict
  returned: always
source:
  description: C(cache) or C(gathered).
  type: str
  returned: always
warning:
  description: Why a saved document was not used, or could not be saved; empty when all is well.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.facts.cache import load_or_gather
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "state_dir": {"type": arguments.path, "required": True},
    "force": {"type": "bool", "default": False},
    "max_age_seconds": {"type": "int", "default": 86400},
    "version": {"type": "str", "default": ""},
    "install_dir": {"type": "str", "default": ""},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    facts, origin = load_or_gather(save=not module.check_mode, **module.params)
    if origin["why"]:
        module.warn(origin["why"])
    module.exit_json(
        changed=False,
        ansible_facts={"dream_host": facts},
        facts=facts,
        source=origin["source"],
        warning=origin["why"],
    )


if __name__ == "__main__":
    main()
