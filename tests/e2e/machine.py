"""What the end-to-end tests ask of a node after an install."""

from __future__ import annotations

import json

from nodes.node import Node, Result

#: README's first command.
COMMAND = ("--profile", "native", "--model", "smoke", "--yes")

_CHAT = """
import json, sys, urllib.request
body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
request = urllib.request.Request(
    "http://127.0.0.1:%s/v1/chat/completions" % sys.argv[1],
    json.dumps(body).encode(),
    {"Content-Type": "application/json"},
)
print(json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"]["content"])
"""


def chat(node: Node, port: int = 11434) -> str:
    """Return what the model of the node answers; no curl in a bare node, so its python3 asks."""
    return node.must("python3", "-B", "-I", "-c", _CHAT, str(port)).out.strip()


def check_installed(node: Node) -> None:
    """The promise of the README: an answer, ``ready``, and a second run that changes nothing."""
    assert chat(node)
    status = node.runner("status", "--json")
    assert status.code == 0, str(status)
    assert status.json()["state"] == "ready", str(status)
    again = node.install(*COMMAND, "--json")
    assert again.code == 0, str(again)
    assert again.json()["tasks"]["changed"] == 0, str(again)


def one_error(result: Result, code: int) -> str:
    """Return the one error of a run that had to end with ``code``."""
    assert result.code == code, str(result)
    found = [line for line in result.err.splitlines() if line.startswith("error")]
    assert len(found) == 1, str(result)
    assert "Traceback" not in result.text, str(result)
    return result.err[result.err.index(found[0]) :]


def changes(before: dict[str, str], after: dict[str, str], *but: str) -> list[str]:
    """Return the paths that appeared, went or changed, leaving out what lies below ``but``."""
    names = (name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    kept = (name for name in names if not any((name + "/").startswith(skip) for skip in but))
    return [f"{name}: {before.get(name)} -> {after.get(name)}" for name in sorted(kept)]


def error_code(result: Result) -> str:
    """Return the stable identifier of the error that ``--json`` reports."""
    return str(json.loads(result.out)["error"]["code"])
