#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Report the facts of a host: hardware, memory, operating system."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_facts
short_description: Report the facts of a host
version_added: 0.1.0
description:
  - Returns the facts document of the host (docs/developer/captures.md lists its fields), and keeps
    it as C(ansible_facts.dream_host) for the tasks that follow.
  - Caches the document in the state directory for a day, or until the boot, the kernel, a device, a
    driver, the memory, the version or the install directory changes.
  - A cache that cannot be read or written causes a warning, not an error.
options:
  state_dir: {description: State directory of the target user., type: path, required: true}
  force: {description: Gather the facts again; ignore the cache., type: bool, default: false}
  max_age_seconds:
    description: Age in seconds at which the cache expires.
    type: int
    default: 86400
  version:
    description: Version of dream-runner; a change expires the cache.
    type: str
    default: ""
  install_dir: {description: Install directory; a change expires the cache., type: str, default: ""}
attributes:
  check_mode: {description: "Does not write the cache.", support: full}
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
