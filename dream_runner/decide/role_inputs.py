"""Find the inputs of each phase: the text of its role, and the variables in that text.

The names of a role's inputs are read from the role itself (values of YAML files, templates,
programs), so there is no list to maintain. Comments, keys, the specification in ``meta``
and the README are not read, because they do not affect a run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .. import paths
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.records import inputs
from ..module_utils.dream_core.types.choice import Choice
from ..module_utils.dream_core.types.facts import Facts
from ..module_utils.dream_core.types.host import Session
from ..module_utils.dream_core.types.receipt import Wanted
from ..module_utils.dream_core.types.settings import SettingValues

#: A role whose tasks another role includes.
_INCLUDED = re.compile(r"(?:include|import)_role:\s*\n\s+name:\s*(?:\w+\.\w+\.)?([a-z_]+)")


@dataclass(frozen=True)
class Source:
    """A phase's role: a digest of everything that it runs, and the variables that it uses."""

    digest: str
    names: frozenset[str]


def wanted(
    settings: SettingValues,
    choice: Choice,
    host: Facts,
    session: Session,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Wanted]:
    """Return the inputs of every phase in the form of ``due_phases.decide`` and the receipts.

    ``overrides`` are variables that replace defaults of roles.
    """
    known = inputs.values(settings, choice, host, session)
    return {
        phase: {
            "inputs": {
                "content": source.digest,
                **inputs.digests(source.names, known),
                **_overridden(phase, overrides or {}),
            },
            "consumes": [name for name in inputs.consumed(source.names) if name != phase],
        }
        for phase, source in of_roles().items()
    }


def _overridden(phase: str, overrides: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: inputs.digest(str(value))
        for name, value in overrides.items()
        if name.startswith(f"{phase}_") and not name.endswith("_facts")
    }


@cache
def of_roles() -> dict[str, Source]:
    """Return the source of each phase, in run order."""
    shared = _digest(_shared_files())
    variables = _group_variables()
    return {phase: _source(phase, shared, variables) for phase in PHASES}


def _source(phase: str, shared: str, variables: Mapping[str, str]) -> Source:
    files = list(_files_of_role(phase))
    for role in sorted(set(_INCLUDED.findall("\n".join(map(_read, files)))) - {phase}):
        files += _files_of_role(role)
    text = "\n".join(_inputs_text(path) for path in files)
    return Source(f"{_digest(files)}{shared}", _closure(inputs.names_in(text), variables))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _inputs_text(path: Path) -> str:
    """Return the part of a role's file that can use an input."""
    if path.parent.name == "meta":
        return ""
    if path.suffix == ".yml":
        return "\n".join(_strings(yaml.safe_load(_read(path))))
    return _read(path)


def _strings(node: Any) -> Iterator[str]:
    """Yield every string among the values of a YAML document."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)


def _closure(names: frozenset[str], variables: Mapping[str, str]) -> frozenset[str]:
    """Return ``names`` and the variables that the shared ones among them use."""
    found = names
    while True:
        more = found.union(
            *(inputs.names_in(variables[name]) for name in found if name in variables)
        )
        if more == found:
            return found
        found = more


def _group_variables() -> dict[str, str]:
    """Return the text of each variable that all roles share, except defaults of settings."""
    texts: dict[str, str] = {}
    for path in sorted((paths.content() / "playbooks" / "group_vars" / "all").glob("*.yml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        texts.update({name: str(value) for name, value in document.items()})
    return texts


def _files_of_role(role: str) -> Iterator[Path]:
    """Yield the files of a role without its README."""
    root = paths.content() / "roles" / role
    return (p for p in sorted(root.rglob("*")) if p.is_file() and p.name != "README.md")


def _shared_files() -> Iterator[Path]:
    """Yield the files of the code that all roles use."""
    content, package = paths.content(), paths.PACKAGE
    yield from _files_of_role("context")
    for root in (content / "playbooks", content / "library"):
        yield from (path for path in sorted(root.rglob("*")) if path.suffix in (".py", ".yml"))
    plugins = package / "plugins"
    for root in (package / "module_utils", plugins / "action", plugins / "filter"):
        yield from sorted(root.rglob("*.py"))
    yield from sorted(plugins.glob("*.py"))


def _digest(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]
