"""Wrong settings and hostile machines: one clear error, the right exit code, nothing changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nodes.node import Node

from .machine import COMMAND, changes, chat, check_installed, error_code, one_error

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

STATE = "/root/.local/state/dream-runner"
ZEROS = "0" * 64

#: name: options beyond README's, exit code, a word of the message.
CASES = {
    "unknown-tier": (["--tier", "colossal"], 2, "colossal"),
    "unknown-profile": (["--profile", "tiny"], 2, "tiny"),
    "two-errors-at-once": (["--tier", "colossal", "--engine-port", "99999"], 2, "99999"),
    "unknown-option": (["--colour"], 2, "--colour"),
    "answers-missing": (["--answers", "/nonexistent.yml"], 2, "/nonexistent.yml"),
    "answers-is-a-directory": (["--answers", "/etc"], 2, "/etc"),
    "answers-not-yaml": (["--answers", "/root/broken.yml"], 2, "broken.yml"),
    "answers-unknown-key": (["--answers", "/root/unknown.yml"], 2, "colour"),
    "model-url-without-digest": (["--model", "https://127.0.0.1:9/x.gguf"], 2, "sha256"),
    "read-only-filesystem": (["--install-dir", "/frozen/dream"], 6, "/frozen"),
    "full-disk": (["--install-dir", "/small/dream"], 6, "/small"),
    "install-dir-is-a-file": (["--install-dir", "/etc/passwd"], 2, "/etc/passwd"),
    "port-taken": (["--engine-port", "11500"], 3, "11500"),
    "not-enough-memory": (["--memory-limit-mb", "64"], 3, "MB"),
    "model-file-missing": (["--model", "file:///root/no.gguf", "--sha256", ZEROS], 2, "no.gguf"),
}
#: The same for what only shows when the model is fetched.
FETCHES = {
    "wrong-digest": (["--model", "file:///root/some.gguf", "--sha256", ZEROS], 7, "some.gguf"),
    "server-refuses": (
        ["--model", "http://127.0.0.1:9/x.gguf", "--sha256", ZEROS, "--fast-start", "no"],
        *(5, "127.0.0.1"),
    ),
}

_LISTEN = """
import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 11500)); s.listen(); time.sleep(3600)
"""


@pytest.fixture(scope="module")
def machine(module_node: Callable[..., Node]) -> Node:
    """A node with the private environment and nothing installed by it."""
    frozen = ["--mount", "type=tmpfs,destination=/frozen,ro,tmpfs-size=1g"]
    small = ["--mount", "type=tmpfs,destination=/small,tmpfs-size=24m"]
    node = module_node("12", systemd=False, user="root", options=[*frozen, *small])
    node.copy_checkout()
    node.must("sh", "-c", "echo 'a: [' > broken.yml; echo 'colour: red' > unknown.yml")
    node.must("sh", "-c", "head -c 100000 /dev/urandom > some.gguf; mkdir -p .local/state")
    node.podman.run("exec", "-d", node.name, "python3", "-c", _LISTEN)
    # Makes the environment, then ends with exit code 2.
    one_error(node.install("--profile", "nothing", "--yes"), 2)
    return node


@pytest.mark.parametrize("case", CASES)
def test_one_error_and_nothing_changed(machine: Node, case: str) -> None:
    options, code, word = CASES[case]
    base = [item for item in COMMAND if not ("--profile" in options and item in COMMAND[:2])]
    machine.must("rm", "-rf", STATE)
    before = machine.listing()
    result = machine.install(*base, *options)
    error = one_error(result, code)
    assert word in error, str(result)
    # What the run wrote down about itself is not a change of the machine; nor is the time of a
    # directory in which a temporary file came and went.
    after = machine.listing()
    before.pop("/tmp")
    after.pop("/tmp")
    assert changes(before, after, STATE + "/", "/root/.local/state/") == []
    assert machine.run("test", "-e", "/root/ai-server").code == 1, "install dir was made"


@pytest.mark.parametrize(
    "case",
    [pytest.param(x, marks=() if x == "wrong-digest" else pytest.mark.slow) for x in FETCHES],
)
def test_no_model_is_better_than_a_wrong_one(machine: Node, case: str) -> None:
    options, code, word = FETCHES[case]
    error = one_error(machine.install(*COMMAND, "--fresh", *options), code)
    assert word in error, error
    models = machine.must("find", "/root/ai-server", "-name", "*.gguf*", "-type", "f").out
    assert "x.gguf" not in models
    assert "dream_engine" not in "\n".join(machine.processes()), "an engine was started"


def test_json_names_the_error(machine: Node) -> None:
    result = machine.install(*COMMAND, "--tier", "colossal", "--json")
    assert result.code == 2
    assert error_code(result)


_EACH = "find . -name '*.json' -not -path './runs/*' -exec sh -c '%s' {} \\;"
CORRUPT = {
    "truncated": _EACH % 'truncate -s 20 "$0"',
    "empty": _EACH % ': > "$0"',
    "garbage": _EACH % 'head -c 999 /dev/urandom > "$0"',
    "other-types": _EACH % 'echo "[1, null]" > "$0"',
    "newer-schema": _EACH % 'sed -i "s/.schema.: [^,]*/\\"schema\\": 999/" "$0"',
    "links": _EACH % 'ln -sf /etc/passwd "$0"',
    "gone": "rm -rf ./*",
    "lock-of-a-dead-run": 'echo "{\\"pid\\": 999999, \\"command\\": \\"x\\"}" > lock',
}


#: In CI on every run; tests/chaos/test_state_files.py has each of them without a node.
ALWAYS = ("truncated", "links", "lock-of-a-dead-run")


@pytest.fixture(scope="module")
def installed(machine: Node) -> Node:
    """The same node with an install: what comes before needs one without."""
    done = machine.install(*COMMAND, "--fresh")
    assert done.code == 0, str(done)
    return machine


@pytest.mark.parametrize(
    "damage",
    [pytest.param(x, marks=() if x in ALWAYS else pytest.mark.slow) for x in CORRUPT],
)
def test_corrupt_state_is_a_warning_and_repaired(installed: Node, damage: str) -> None:
    secrets = installed.must("cat", "ai-server/.env").out
    installed.must("sh", "-c", CORRUPT[damage], cwd=STATE)
    done = installed.install(*COMMAND, "--json")
    assert done.code == 0, str(done)
    assert "Traceback" not in done.text
    assert installed.must("cat", "ai-server/.env").out == secrets
    assert installed.must("cat", "/etc/passwd").out.startswith("root:")
    check_installed(installed)


def test_wrong_digest_keeps_what_works(installed: Node) -> None:
    installed.must("sh", "-c", "head -c 100000 /dev/zero > /root/other.gguf")
    wrong = ["--model", "file:///root/other.gguf", "--sha256", ZEROS]
    one_error(installed.install(*COMMAND, *wrong), 7)
    assert chat(installed)
    done = installed.install(*COMMAND, "--model", "smoke", "--sha256", "")
    assert done.code == 0, str(done)
    check_installed(installed)
