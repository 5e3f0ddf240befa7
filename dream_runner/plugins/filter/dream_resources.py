"""Describe what a phase manages, in the format of its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Dict, Iterable, List, Union

from ansible.errors import AnsibleFilterError

DOCUMENTATION = """
name: dream_resources
short_description: Resources of a receipt
version_added: 0.1.0
description:
  - Turns paths or names into the resources that the module M(dream_phase) records.
positional: _input, kind
options:
  _input:
    description: Paths or names, or dictionaries with more keys of each resource.
    type: list
    required: true
  kind:
    description: Kind of the resources, for example V(file), V(directory) or V(package).
    type: str
    required: true
  key:
    description:
      - Key of the path or name. The default is C(path) for files, directories, trees,
        data and models, and C(name) for everything else.
    type: str
  folder:
    description: Directory of the items, which are dictionaries; their key C(file) is below it.
    type: str
author: dream-runner maintainers
"""

EXAMPLES = """
- name: Describe two files
  ansible.builtin.debug:
    msg: "{{ ['/etc/a', '/etc/b'] | dream_resources('file', mode='0644') }}"
"""

RETURN = """
_value:
  description: One resource for each item, in the same order. Further options become keys of each.
  type: list
  elements: dict
"""

#: Kinds that are identified by a path; the others have a name.
_OF_PATHS = frozenset(("data", "directory", "file", "model", "tree"))


def resources(
    items: Iterable[Union[str, Mapping[str, Any]]],
    kind: str,
    key: str = "",
    folder: str = "",
    **parts: Any,
) -> List[Dict[str, Any]]:
    """Return a resource of ``kind`` for each of ``items``, with the keys ``parts`` added.

    An item is a path or a name, which becomes the value of ``key``, or a dictionary, whose ``file``
    becomes a path below ``folder``. Raises AnsibleFilterError for a single string, whose characters
    would be taken for names.
    """
    if isinstance(items, (str, Mapping)):
        raise AnsibleFilterError("dream_resources needs a list, not %r" % (items,))
    key = key or ("path" if kind in _OF_PATHS else "name")
    return [{**_parts_of(item, key, folder), "kind": kind, **parts} for item in items]


def _parts_of(item: Union[str, Mapping[str, Any]], key: str, folder: str) -> Dict[str, Any]:
    if not isinstance(item, Mapping):
        return {key: item}
    # Not {**item}: that would bypass the templates in Ansible's lazy dictionaries.
    parts = {name: item[name] for name in item}
    if folder:
        parts[key] = "%s/%s" % (folder, parts.pop("file"))
    return parts


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> Dict[str, Any]:
        """Return the filters by name."""
        return {"dream_resources": resources}
