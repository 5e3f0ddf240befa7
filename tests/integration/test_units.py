"""Names and paths in unit files, supervisord's and compose's configuration stay what they are."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths
from dream_runner.decide.services import compose_file
from dream_runner.module_utils.dream_core.native.supervisord_program import Program
from dream_runner.module_utils.dream_core.native.supervisord_state import configuration
from dream_runner.run import ansible
from dream_runner.run.request import Request, new_run_id
from tests.fixtures import hostile

#: What a directory of an installation may be called.
LEGAL = ["/srv/{{ 191 * 7 }}/{x", "/srv/a b/Grüße 😀", "/srv/{#c#}", "/srv/a&b;c#d|e>f*?[x]!~"]
NAMES = [*hostile.TEXTS.values(), "x\nExecStartPre=/bin/touch /x", "x\\", "100%n", "\x07bell"]

PLAY = """
- name: Render
  hosts: all
  gather_facts: false
  tasks:
    - name: Render
      ansible.builtin.copy:
        dest: "{{ out }}"
        mode: "0600"
        content: >-
          {%- set made = [] -%}
          {%- for template in templates -%}{%- for row in given -%}
          {%- set text = lookup('ansible.builtin.template', template, template_vars=row) -%}
          {%- set _ = made.append(text) -%}
          {%- endfor -%}{%- endfor -%}
          {{ made | to_json }}
"""


def given(name: str, place: str, home: str) -> dict[str, Any]:
    command = [f"{place}/python", name]
    return {
        "__services_scope": "system", "__models_scope": "system",
        "__services_model": {"name": name}, "dream_engine_unit": "x.service",
        "dream_choice": {
            "upgrade": {"model": {"name": name}}, "stack": None, "webui": {"version": "1"},
        },
        "dream_webui_unit": "y.service", "__services_webui_command": command,
        "__services_webui_log": f"{place}/log",
        "dream_session": {"home": home}, "dream_install_dir": place, "docker_facts": {},
        "__services_log": f"{place}/log", "__models_log": f"{place}/log",
        "__services_command": command, "__models_command": command,
    }  # fmt: skip


def unescaped(word: str) -> str:
    """Return a quoted word as systemd reads it: C's escapes, then specifiers and variables."""
    assert word.startswith('"')
    assert word.endswith('"')
    return str(json.loads(word)).replace("%%", "%").replace("$$", "$")


def directives(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_unit_files_hold_names_and_paths_and_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAY)
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    templates = sorted(str(path) for path in (paths.content() / "roles").glob("*/templates/*.j2"))
    assert len(templates) >= 2
    places = [LEGAL[number % len(LEGAL)] for number in range(len(NAMES))]
    homes = ["/home/" + name.replace("\n", " ") for name in NAMES]
    run_id = new_run_id()
    variables: dict[str, Any] = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
        "given": list(map(given, NAMES, places, homes)), "templates": templates,
        "out": str(tmp_path / "out.json"),
    }  # fmt: skip
    request = Request("install", variables, run_id, tmp_path / "runs" / run_id)
    result = ansible.execute(request, lambda _: None)
    assert result.rc == 0, (request.run_dir / "log.txt").read_text()
    made = iter(json.loads((tmp_path / "out.json").read_text()))
    for _ in templates:
        expected = None
        for number, name in enumerate(NAMES):
            found = directives(next(made))
            # The same directives, each as often, whatever the name is.
            shape = {key: len(values) for key, values in found.items()}
            expected = expected or shape
            assert shape == expected, name
            words = re.findall(r'"(?:[^"\\]|\\.)*"', found["ExecStart"][0])
            assert [unescaped(word) for word in words] == [places[number] + "/python", name]
            assert found["WorkingDirectory"] == [places[number].replace("%", "%%")]
            assert "\\" not in found["Description"][0][-1:]
            assert "%" not in found["Description"][0].replace("%%", "")
            if found["Environment"][0].startswith('"HOME='):
                home = re.match(r'"(?:[^"\\]|\\.)*"', found["Environment"][0])
                assert home is not None
                assert unescaped(home[0].replace("$", "$$")) == "HOME=" + homes[number]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
def test_systemd_reads_a_description_of_any_name(tmp_path: Path) -> None:
    unit = tmp_path / "x.service"
    unit.write_text("[Unit]\nDescription=a 100%%n (b)\n[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert "specifier" not in done.stderr


@pytest.mark.parametrize("place", LEGAL)
def test_supervisord_reads_back_what_was_written(tmp_path: Path, place: str) -> None:
    program = Program(
        place, "engine", [f"{place}/python", "{{ 1 }}", "100%n", 'a"b\\'], f"{place}/log"
    )
    config = tmp_path / "supervisord.conf"
    config.write_text(program.text())
    parsed = configuration(str(config))
    assert parsed.get("supervisord", "directory").replace("%%", "%") == place
    assert parsed.get("program:engine", "stdout_logfile").replace("%%%%", "%") == f"{place}/log"
    import shlex
    from configparser import RawConfigParser

    # As supervisord itself opens it: a ; or # behind a blank begins a comment.
    strict = RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    strict.read_file(io.StringIO(program.text()))
    command = strict.get("program:engine", "command").replace("%%", "%")
    assert shlex.split(command) == program.argv
    assert strict.get("supervisord", "directory").replace("%%", "%") == place


@pytest.mark.parametrize("text", hostile.TEXTS.values())
def test_compose_gets_a_dollar_as_itself(text: str) -> None:
    escaped = compose_file.escape(text)
    assert "$" not in escaped.replace("$$", "")
    assert escaped.replace("$$", "$") == text
