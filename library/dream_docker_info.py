#!/usr/bin/python
# Part of dream-runner. SPDX-License-Identifier: Apache-2.0
"""Inspect the container engine and plan its changes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dream_docker_info
short_description: Inspect the container engine and plan its changes
version_added: 0.1.0
description:
  - Asks the engine with the account of the task, and reads its configuration, the repositories and
    the devices.
  - Fails if the installed engine cannot be used, if no engine can be installed, or if its
    configuration is broken; with O(ready=true) also if it does not work.
  - Never changes anything.
options:
  command: {description: Client program of the engine., type: str, default: docker}
  docker_source: {description: Source of the engine., type: str, default: auto}
  offline: {description: Use no network., type: bool, default: false}
  bundle: {description: "Directory of the bundle (empty: none).", type: str, default: ""}
  backend: {description: Backend whose devices containers use., type: str, required: true}
  host: {description: The facts document., type: dict, required: true}
  options: {description: Options of the role docker., type: dict, required: true}
  ours: {description: Options of the daemon that an earlier run set., type: dict, default: {}}
  user: {description: "Account to add to the engine's group (empty: none).", type: str, default: ""}
  ready: {description: Fail if the engine does not work., type: bool, default: false}
attributes:
  check_mode: {description: Works in the same way., support: full}
  diff_mode: {description: There is nothing to show., support: none}
author: dream-runner maintainers
"""

EXAMPLES = r"""
- name: Inspect the engine
  dream_docker_info:
    backend: "{{ dream_choice.backend }}"
    host: "{{ dream_host }}"
    options: "{{ __docker_options }}"
"""

RETURN = r"""
engine: {description: The engine that answers., type: dict, returned: always}
denied: {description: Whether the engine refuses this account., type: bool, returned: always}
unit: {description: The engine's unit., type: dict, returned: always}
devices: {description: Device files with their groups., type: dict, returned: always}
member: {description: Whether the user is in the group., type: bool, returned: always}
plan: {description: The changes to make., type: dict, returned: unless denied}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core.containers import (
    daemon_options,
    engine_choice,
    engine_identity,
    engine_look,
)
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.packages import bundle_debs, installed
from ansible.module_utils.dream_core.system.umask import tighten_umask

SPEC = {
    "command": {"type": "str", "default": "docker"},
    "docker_source": {"type": "str", "default": "auto"},
    "offline": {"type": "bool", "default": False},
    "bundle": {"type": "str", "default": ""},
    "backend": {"type": "str", "required": True},
    "host": {"type": "dict", "required": True},
    "options": {"type": "dict", "required": True},
    "ours": {"type": "dict", "default": {}},
    "user": {"type": "str", "default": ""},
    "ready": {"type": "bool", "default": False},
}


def main():
    tighten_umask()
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **examine(module.params))
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())


def examine(asked):
    """Return the state of the engine and, if this login may read it, the plan."""
    system = asked["host"]["os"]
    look = engine_look.look(asked["command"], system["family"], asked["options"]["data_root"])
    engine = engine_identity.identify(look)
    driver = engine_choice.driver_version(asked["host"])
    answer = {
        "engine": engine,
        "denied": engine["kind"] == "denied",
        "unit": engine_look.unit(),
        "devices": look["devices"],
        "member": engine_look.is_member(asked["user"]),
    }
    # If the engine refuses this login, the role runs the module again as root.
    if asked["ready"] and not answer["denied"]:
        problem = engine_identity.refusal(engine, look, asked["backend"], ready=True)
        if problem:
            raise problem
        if asked["backend"] == "nvidia":
            engine_choice.check_toolkit(engine, look, driver)
    if not answer["denied"]:
        request = dict(asked, system=system, arch=asked["host"]["arch"], driver=driver)
        request["bundled"] = bundle_debs.names(asked["bundle"]) if asked["offline"] else []
        plan = engine_choice.plan(request, look)
        wanted = plan["packages"] + plan["toolkit"]["packages"]
        plan["missing"] = installed.missing_packages(wanted, system["family"])
        plan["daemon"].update(
            path=daemon_options.DAEMON_FILE,
            mode=engine_look.mode(daemon_options.DAEMON_FILE, "0644"),
            directory=os.path.dirname(daemon_options.DAEMON_FILE),
            directory_mode=engine_look.mode(os.path.dirname(daemon_options.DAEMON_FILE), "0755"),
        )
        answer["plan"] = plan
    return answer


if __name__ == "__main__":
    main()
