#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Update the containers of a compose project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_compose
short_description: Update the containers of a compose project
version_added: 0.1.0
description:
  - Writes the compose file in the form that this engine accepts, compares the hash of each
    service's configuration with that of its running container, and changes only containers that
    differ. Gives the reason for every start, restart and removal.
  - Removes containers of services that are no longer in the project, by the project's label only.
  - Safe to kill at any time; the next run continues from the state of the containers.
  - Compose does not see the caller's environment; values come from the compose file and
    O(env_file).
options:
  project:
    description: The compose project as data. O(state=absent) needs only its C(name).
    type: dict
    required: true
  directory: {description: Directory of the compose file., type: path, required: true}
  env_file:
    description: File with values for the project.
    type: path
    required: true
  core:
    description: Services that must start; the failure of another one is only reported.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(absent) removes containers and networks.
      - V(vacated) removes the containers that mount what is gone, or read a file of O(files) that
        was altered; to be asked for before these are made anew.
    type: str
    choices: [present, absent, vacated]
    default: present
  files: {description: Those of C(dream_choice.stack)., type: list, elements: dict, default: []}
  images: {description: Those of C(dream_choice.stack)., type: list, elements: dict, default: []}
  command: {description: Client program of the engine., type: str, default: docker}
  socket: {description: The wrapper's socket., type: str, default: ""}
  phase: {description: Phase to report progress for., type: str, default: services}
attributes:
  check_mode: {description: Reports the steps; changes nothing., support: full}
  diff_mode: {description: Shows the steps., support: full}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Start the containers
  dream_compose:
    project: "{{ dream_choice.stack.compose }}"
    directory: /srv/ai
    env_file: /srv/ai/.env
    core: [llama-server, open-webui]
"""

RETURN = r"""
steps:
  description: The steps, each with service, action and reason.
  type: list
  elements: dict
  returned: success
degraded:
  description: Optional services that did not start, with the reason.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.containers.compose_project import Stack
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "project": {"type": "dict", "required": True},
    "directory": {"type": arguments.path, "required": True},
    "env_file": {"type": arguments.path, "required": True},
    "core": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent", "vacated"], "default": "present"},
    "files": {"type": "list", "elements": "dict", "default": []},
    "images": {"type": "list", "elements": "dict", "default": []},
    "command": {"type": "str", "default": "docker"},
    "socket": {"type": "str", "default": ""},
    "phase": {"type": "str", "default": "services"},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    wanted, write = module.params, not module.check_mode
    also = {item["reference"]: item["also"] for item in wanted["images"] if item["also"]}
    stack = Stack(
        wanted["command"], wanted["directory"], wanted["env_file"], wanted["project"], also
    )
    try:
        with Lifeline(wanted["socket"], wanted["phase"]) as line:
            if wanted["state"] == "absent":
                done = stack.remove(write=write, say=line.notice)
            elif wanted["state"] == "vacated":
                done = stack.vacate(wanted["files"], write=write, say=line.notice)
            else:
                done = stack.settle(wanted["core"], write=write, say=line.notice)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    steps = "".join("%(service)s: %(action)s, %(why)s\n" % step for step in done["steps"])
    warnings = ["%s: %s" % item for item in sorted(done["degraded"].items())]
    module.exit_json(diff={"before": "", "after": steps}, warnings=warnings, **done)


if __name__ == "__main__":
    main()
