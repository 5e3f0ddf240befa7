"""Keep some parts of each dictionary of a list."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping

DOCUMENTATION = """
name: dream_parts
short_description: Some parts of each dictionary of a list
version_added: 0.1.0
description:
  - Returns the dictionaries with nothing but the parts that are named.
options:
  _input:
    description: Dictionaries that all have these parts.
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
    """Return each of ``items`` with only its parts ``names``. Raises KeyError if it lacks one."""
    return [{name: item[name] for name in names} for item in items]


class FilterModule:
    """Hand the filter to Ansible."""

    def filters(self) -> Dict[str, Any]:
        """Return the filters of this file by their names."""
        return {"dream_parts": parts}
