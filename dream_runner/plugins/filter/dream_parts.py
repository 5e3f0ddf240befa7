"""Keep only some keys of each dictionary in a list."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping

DOCUMENTATION = """
name: dream_parts
short_description: Keep only some keys of each dictionary in a list
version_added: 0.1.0
description:
  - Returns the dictionaries with only the given keys.
options:
  _input:
    description: Dictionaries that all have these keys.
    type: list
    elements: dict
    required: true
author: dream-runner maintainers
"""

EXAMPLES = """
- name: Show the names and sizes of the files of a model
  ansible.builtin.debug:
    msg: "{{ dream_choice.model.files | dream_parts('file', 'size_bytes') }}"
"""

RETURN = """
_value:
  description: The smaller dictionaries, in the same order.
  type: list
  elements: dict
"""


def parts(items: Iterable[Mapping[str, Any]], *names: str) -> List[Dict[str, Any]]:
    """Return each of ``items`` with only the keys ``names``. Raises KeyError if one is missing."""
    return [{name: item[name] for name in names} for item in items]


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> Dict[str, Any]:
        """Return the filters by name."""
        return {"dream_parts": parts}
