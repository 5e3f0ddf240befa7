"""Return the environment variables that a program needs for network access."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from dream_runner.module_utils.dream_core.network import network_env

DOCUMENTATION = """
name: dream_network
short_description: Environment variables for network access
version_added: 0.1.0
description:
  - Returns the variables for proxies, certificates, tokens and the package index from the
    environment of this machine.
options:
  _terms:
    description: >-
      V(programs) for a package manager (proxies in lower case, certificates under every name),
      V(unit) for a program that inherits nothing (the variables unchanged).
    required: true
author: dream-runner maintainers
"""

EXAMPLES = """
- name: Download with the proxies of this machine
  ansible.builtin.command:
    argv: [curl, https://example.org/]
  environment: "{{ lookup('dream_network', 'programs') }}"
"""

RETURN = """
_raw:
  description: Environment variables and their values.
  type: list
  elements: dict
"""

_KINDS = {"programs": network_env.of_programs, "unit": network_env.of_unit}


class LookupModule(LookupBase):
    """Return one dictionary for each requested kind."""

    def run(
        self, terms: List[str], variables: Optional[Dict[str, Any]] = None, **kwargs: Any
    ) -> List[Dict[str, str]]:
        unknown = [term for term in terms if term not in _KINDS]
        if unknown:
            raise AnsibleLookupError("dream_network supports %s" % " and ".join(_KINDS))
        return [_KINDS[term](os.environ) for term in terms]
