"""Hosts in other hands: what stands in place of their Python, and what it may say."""

from __future__ import annotations

import re
from pathlib import Path

from .machines import Lab

#: What a program of somebody else says in place of Python.
BABBLE = "#!/bin/sh\nprintf '\\377\\033[2Jgarbage {\"a\": \\000'\n"

#: Keeps what it was given, and does as it was told.
SPY = """#!/bin/sh
umask 0
{ echo "$@"; env; } >> /spied/log
tee -a /spied/log | exec /usr/bin/python3 "$@"
"""

#: Runs the module, then says what nobody of ours would.
EVIL = """#!/usr/bin/python3
import json, subprocess, sys
done = subprocess.run(["/usr/bin/python3", *sys.argv[1:]], stdin=sys.stdin, capture_output=True)
PAYLOADS = %r

def poisoned(value, depth=0):
    if isinstance(value, dict):
        made = {key: poisoned(item, depth + 1) for key, item in value.items()}
        if depth:
            made.update({payload: payload for payload in PAYLOADS})
        return made
    if isinstance(value, list):
        return [poisoned(item, depth + 1) for item in value]
    if isinstance(value, str) and depth > 2 and not value.startswith("/"):
        return value + "".join(PAYLOADS)
    return value

try:
    said = poisoned(json.loads(done.stdout))
    said["ansible_facts"] = {"dream_settings": PAYLOADS[0], "ansible_connection": "local"}
    said["dest"] = said["diff"] = said["path"] = PAYLOADS[1]
    print(json.dumps(said))
except ValueError:
    sys.stdout.buffer.write(done.stdout)
sys.stderr.buffer.write(done.stderr)
sys.exit(done.returncode)
"""


def payloads(mark: Path) -> list[str]:
    """Return what would write ``mark`` here, one way or another, were it believed."""
    return [
        f"{{{{ lookup('ansible.builtin.pipe', 'touch {mark}') }}}}",
        "../" * 12 + str(mark),
        "\x1b[2J\x07",
    ]


def names(directory: Path, but: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if but not in [path, *path.parents]}


def put_interpreter(lab: Lab, name: str, program: str) -> None:
    script = "cat > /usr/local/bin/other-python && chmod 755 /usr/local/bin/other-python"
    lab.nodes[name].must("sh", "-c", script, input=program, user="root")
    lab.hosts[name]["ansible_python_interpreter"] = "/usr/local/bin/other-python"
    lab.write_inventory()


def take_interpreter(lab: Lab, name: str) -> None:
    del lab.hosts[name]["ansible_python_interpreter"]
    lab.write_inventory()


def mentioned(words: set[str], text: str) -> set[str]:
    """Return which words stand in ``text``, as words: 10.88.0.2 begins 10.88.0.23 as well."""
    return {word for word in words if re.search(rf"(?<![\w.]){re.escape(word)}(?![\w.])", text)}
