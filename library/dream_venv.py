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
    description: >-
      A pip requirements file in which every package is pinned with C(--hash). With O(lock), the
      module writes it.
    type: path
    required: true
  lock:
    description: >-
      A lock of wheels (JSON) to install in place of the list. Its wheels are downloaded like
      models, resumably, into the directory C(wheels) beside the environment.
    type: path
  label:
    description: What to call the packages in progress lines.
    type: str
    default: engine packages
  arch: {description: "Processor, for O(lock).", type: str, choices: [amd64, arm64]}
  reserve_bytes: {description: "Space to keep free, for O(lock).", type: int, default: 0}
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
bytes_fetched:
  description: "Bytes of wheels that came from the index, with O(lock)."
  type: int
  returned: success
bytes_reused:
  description: "Bytes of wheels that were there, with O(lock)."
  type: int
  returned: success
"""

import os
import sys
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dream_core import arguments
from ansible.module_utils.dream_core.errors import DreamError
from ansible.module_utils.dream_core.fetch import wheel_lock, wheelhouse
from ansible.module_utils.dream_core.fetch.request import Network
from ansible.module_utils.dream_core.native.venv import Source, choose_python, ensure
from ansible.module_utils.dream_core.system.lifeline import Lifeline
from ansible.module_utils.dream_core.system.umask import tighten_umask

#: pip names every package it has installed in one line.
_NOTE_CHARACTERS = 120

SPEC = {
    "path": {"type": arguments.path, "required": True},
    "requirements": {"type": arguments.path, "required": True},
    "python": {"type": "list", "elements": arguments.path, "default": ["/usr/bin/python3"]},
    "find_links": {"type": arguments.path},
    "lock": {"type": arguments.path},
    "label": {"type": "str", "default": "engine packages"},
    "arch": {"type": "str", "choices": ["amd64", "arm64"]},
    "reserve_bytes": {"type": "int", "default": 0},
    "socket": {"type": "str", "default": ""},
    "phase": {"type": "str", "default": "services"},
}


def _reporter(lifeline, what):
    """Return a function that reports pip's lines, and bytes with their rate."""
    began = []

    def report(line, done, total):
        if not total:
            lifeline.progress(what, 0, 0, 0, note=line[:_NOTE_CHARACTERS])
            return
        now = time.monotonic()
        if not began or began[0] != line:
            began[:] = [line, now, done]
        passed = now - began[1]
        lifeline.progress(line, done, total, (done - began[2]) / passed if passed else 0)

    return report


class Locked:
    """The wheels of a lock for this host, and the directory that they are downloaded to."""

    def __init__(self, wanted, pythons, lifeline):
        lock = wheel_lock.read(wanted["lock"])
        python = choose_python(pythons, dict(os.environ), lock.pythons(wanted["arch"]))
        target = wheel_lock.target_of(lock, python.version, wanted["arch"])
        self.folder = os.path.join(os.path.dirname(wanted["path"]), "wheels")
        self.fetched = wheelhouse.Fetched(0, 0)
        self._wheels = lock.of(target)
        self._wanted = wanted
        self._lifeline = lifeline
        self.source = Source(lock.requirements(target), python, self.folder, self._prepare)

    def _prepare(self):
        network = Network.from_environment(os.environ)
        places = wheelhouse.Places(network, directory=self._wanted["find_links"] or "")
        self.fetched = wheelhouse.fetch_all(
            self._wheels, self.folder, places, self._say, self._wanted["reserve_bytes"]
        )

    def _say(self, progress):
        self._lifeline.progress(
            self._wanted["label"], progress.done, progress.total, progress.rate, note=progress.note
        )


def build(wanted, lifeline, write):
    """Return the module's result."""
    pythons = [*wanted["python"], sys.executable]
    locked = Locked(wanted, pythons, lifeline) if wanted["lock"] else None
    done = ensure(
        wanted["path"],
        wanted["requirements"],
        pythons=pythons,
        environment=dict(os.environ),
        report=_reporter(lifeline, wanted["label"]),
        find_links=wanted["find_links"] or "",
        source=locked.source if locked else None,
        write=write,
    )
    diff = {"before": done.why + "\n" if done.changed else "", "after": ""}
    result = {"changed": done.changed, "why": done.why, "diff": diff}
    if locked and write:
        # Proved, so that they are of no more use.
        wheelhouse.remove_all(locked.folder)
        result.update(bytes_fetched=locked.fetched.fetched, bytes_reused=locked.fetched.reused)
    return result


def main():
    tighten_umask()
    module = AnsibleModule(
        argument_spec=SPEC,
        required_by={"lock": ("arch",)},
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        with Lifeline(wanted["socket"], wanted["phase"]) as lifeline:
            result = build(wanted, lifeline, write=not module.check_mode)
    except DreamError as error:
        module.fail_json(msg=str(error), dream_error=error.to_dict())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
