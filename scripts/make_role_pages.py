"""Write roles/*/README.md from the specification of each role.

    python scripts/make_role_pages.py

A test keeps the committed pages equal to what this makes.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"

_HEAD = "<!-- Made by scripts/make_role_pages.py from meta/argument_specs.yml. -->"

_ALONE = """
## Use it in a playbook

```yaml
- hosts: localhost
  gather_facts: false
  roles: [{role}]
```

`ANSIBLE_CONFIG=<checkout>/ansible.cfg` tells Ansible where the role and its modules are.
"""

_CONTEXT = """
## Variables from the role context

The role [context](../context/README.md) runs first and sets these, unless an earlier play did.
"""

#: Markup of Ansible's documentation for code: C(text), O(option=value), V(value), M(module).
_CODE = re.compile(r"\b[COVM]\(([^)]*)\)")


def page(role: str) -> str:
    """Return the page about ``role``."""
    specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text("utf-8"))
    parts = [f"# {role}\n\n{_HEAD}\n"]
    for name, spec in specs["argument_specs"].items():
        parts += _entry(role, name, spec)
    settings = ROLES / role / "meta" / "settings.yml"
    if settings.is_file():
        parts += ["## Settings", _table(yaml.safe_load(settings.read_text("utf-8")))]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _entry(role: str, name: str, spec: Mapping[str, Any]) -> Iterator[str]:
    is_main = name == "main" or role == "context"
    if not is_main:
        yield f"## Tasks from `{name}`"
    yield _words(spec["short_description"]) + "."
    for paragraph in spec["description"]:
        yield "\n".join(textwrap.wrap(_words(paragraph), 110))
    if is_main:
        yield _ALONE.format(role=role)
    options = spec.get("options") or {}
    own = {key: value for key, value in options.items() if _is_own(role, key)}
    given = {key: value for key, value in options.items() if key not in own}
    level = "##" if is_main else "###"
    if own:
        yield f"{level} Variables"
        yield _table(own)
    if given:
        yield _CONTEXT.replace("##", level, 1)
        yield _given_table(given)


def _is_own(role: str, name: str) -> bool:
    return role == "context" or name.startswith(f"{role}_")


def _table(options: Mapping[str, Any]) -> str:
    rows = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, option in options.items():
        form = option["type"]
        if "elements" in option:
            form = f"{form} of {option['elements']}"
        meaning = _words(option["description"])
        if "choices" in option:
            meaning += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        rows.append(f"| `{name}` | {form} | {_default(option)} | {meaning} |")
    return "\n".join(rows)


def _given_table(options: Mapping[str, Any]) -> str:
    rows = ["| Variable | Type | Meaning |", "|---|---|---|"]
    for name, option in options.items():
        rest = "" if option.get("required") else " Optional."
        rows.append(f"| `{name}` | {option['type']} | {_words(option['description'])}{rest} |")
    return "\n".join(rows)


def _default(option: Mapping[str, Any]) -> str:
    if "default" not in option:
        return "required" if option.get("required") else ""
    value = option["default"]
    if isinstance(value, dict):
        return "see `defaults`"
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _words(text: str) -> str:
    return _CODE.sub(r"`\1`", text).replace("|", "\\|")


def pages() -> dict[Path, str]:
    """Return the page of each role by its path."""
    roles = sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml"))
    return {role / "README.md": page(role.name) for role in roles}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
