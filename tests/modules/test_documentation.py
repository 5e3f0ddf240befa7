"""Every module documents exactly the options that it takes, in a form that ansible-doc reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import yaml

from dream_runner import paths

LIBRARY = paths.content() / "library"
NAMES = sorted(path.stem for path in LIBRARY.glob("dream_*.py"))

#: Runs each module up to the point where it hands its options to Ansible.
RECORDER = """
import json, runpy, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils import basic

class Recorded(Exception):
    pass

def record(self, argument_spec, **rest):
    raise Recorded(argument_spec, rest)

basic.AnsibleModule.__init__ = record
found = {}
for path in sys.argv[2:]:
    try:
        runpy.run_path(path, run_name="__main__")
    except Recorded as recorded:
        found[path] = recorded.args
json.dump(found, sys.stdout, default=lambda value: value.__name__)
"""


@cache
def given() -> dict[str, Any]:
    """Return what each module passes to AnsibleModule: the specification, and the rest."""
    files = [str(LIBRARY / f"{name}.py") for name in NAMES]
    command = [sys.executable, "-c", RECORDER, str(paths.PACKAGE / "module_utils"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {os.path.basename(path)[:-3]: value for path, value in json.loads(done.stdout).items()}


@cache
def documented(kind: str = "module", names: tuple[str, ...] = tuple(NAMES)) -> dict[str, Any]:
    """Return what ansible-doc says about each module."""
    program = os.path.join(os.path.dirname(sys.executable), "ansible-doc")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg")}
    done = subprocess.run(
        [program, "--type", kind, "--json", *names],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "WARNING" not in done.stderr, done.stderr
    documents: dict[str, Any] = json.loads(done.stdout)
    return documents


def options(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a specification, or of its documentation, that both must state."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "required": option.get("required", False),
            "options": options(option.get("options") or option.get("suboptions") or {}),
        }
        for name, option in spec.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_options_are_those_of_the_specification(name: str) -> None:
    spec, _ = given()[name]
    assert options(documented()[name]["doc"]["options"]) == options(spec)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_and_every_returned_value_is_described(name: str) -> None:
    document = documented()[name]
    known = {"description", "type", "elements", "required", "default", "choices", "suboptions"}
    for option, words in document["doc"]["options"].items():
        assert words["description"], option
        assert set(words) <= known, (option, set(words) - known)
    known = {"description", "type", "elements", "returned", "contains", "sample"}
    for key, words in document["return"].items():
        assert all(words.get(part) for part in ("description", "type", "returned")), key
        assert (words["type"] == "list") == ("elements" in words), key
        assert set(words) <= known, (key, set(words) - known)


@pytest.mark.parametrize("name", NAMES)
def test_the_attributes_state_what_check_mode_and_diff_mode_do(name: str) -> None:
    document = documented()[name]["doc"]
    _, rest = given()[name]
    attributes = document["attributes"]
    assert rest.get("supports_check_mode", False) == (attributes["check_mode"]["support"] != "none")
    for attribute in ("check_mode", "diff_mode"):
        assert set(attributes[attribute]) <= {"description", "support", "details"}, attribute
    assert document["version_added"]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_use_the_module_with_options_that_it_has(name: str) -> None:
    spec, _ = given()[name]
    tasks = yaml.safe_load(documented()[name]["examples"])
    used = [task[name] for task in tasks if name in task]
    assert used
    for arguments in used:
        assert set(arguments) <= set(spec)
        assert {key for key, option in spec.items() if option.get("required")} <= set(arguments)


@pytest.mark.parametrize("kind", ["filter", "lookup"])
def test_every_plugin_that_roles_use_is_documented(kind: str) -> None:
    names = tuple(sorted(path.stem for path in (paths.PACKAGE / "plugins" / kind).glob("*.py")))
    found = documented(kind, names)
    assert set(found) == set(names)
    for name in names:
        assert found[name]["doc"]["short_description"]
        assert found[name]["doc"]["version_added"]
        assert found[name]["examples"]
        assert found[name]["return"]
