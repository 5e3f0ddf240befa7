"""How long a first install takes, and what it asks, for each kind of user.

    python tests/bench/users.py [KIND ...]

Wants root and podman. Each row is a bare node: Debian 12 without systemd, Debian 13 with it. A
person logs in, types the plain command and answers what is asked. What was
installed must then serve its page, answer sensibly, say that it is ready, and change nothing again.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from nodes.node import Node, environment  # noqa: E402
from nodes.node import node as started  # noqa: E402
from nodes.podman import Podman  # noqa: E402

PASSWORD = "open sesame"
RELEASES = {"12": False, "13": True}
_ALL = "./install.sh --yes"
#: What each kind of user types first.
KINDS = {
    "root": _ALL,
    "sudo with a password": "./install.sh",
    "sudo without a password": _ALL,
    "no sudo": _ALL,
}
_END = r"ending=(\d+)"
#: What may be asked, and what a person types.
_ANSWERS = {
    "Install with sudo": "",
    r"\[sudo\] password for [^:]*: ": PASSWORD,
    "Go ahead": "y",
}
_ASK = """
import gzip, json, urllib.request as u
page = u.urlopen(u.Request("http://127.0.0.1:11434/", headers={"Accept-Encoding": "gzip"}))
assert b"<html" in gzip.decompress(page.read()).lower()
message = {"role": "user", "content": "What is the capital of France?"}
body = json.dumps({"messages": [message], "max_tokens": 24, "temperature": 0}).encode()
head = {"Content-Type": "application/json"}
url = "http://127.0.0.1:11434/v1/chat/completions"
print(json.load(u.urlopen(u.Request(url, body, head)))["choices"][0]["message"]["content"])
"""


@dataclass
class Row:
    """One first install: how long the commands took, and every line that was typed."""

    seconds: float = 0.0
    typed: list[str] = field(default_factory=list)
    answer: str = ""


def measure(release: str, kind: str, podman: Podman) -> Row:
    """Install on a new node as this kind of user, and check what came of it."""
    user = "root" if kind == "root" else "plain"
    with started(podman, release, systemd=RELEASES[release], user=user) as node:
        root = Node(node.name, podman, "root", node.env)
        _prepare(node, root, release, kind)
        row, shell = Row(), Shell(node)
        code = shell.type(KINDS[kind], row)
        if kind == "no sudo":
            assert code == 4, shell.screen()
            found = re.search(r"[Aa]s root run '([^']+)' once", shell.screen())
            assert found, shell.screen()
            other = Shell(root)
            # Empty on a new node; an ordinary machine has its lists of packages.
            assert other.type("apt-get -qq update", Row()) == 0, other.screen()
            assert other.type(found.group(1), row) == 0, other.screen()
            code = shell.type(KINDS[kind], row)
        assert code == 0, shell.screen()
        command = "dream-runner" if user == "root" else "~/.local/bin/dream-runner"
        assert shell.type(f"{command} status --json > /tmp/status.json", Row()) == 0
        assert shell.type("./install.sh --yes --json > /tmp/again.json", Row()) == 0
        assert json.loads(root.must("cat", "/tmp/status.json").out)["state"] == "ready"
        assert json.loads(root.must("cat", "/tmp/again.json").out)["tasks"]["changed"] == 0
        row.answer = root.must("python3", "-I", "-c", _ASK).out.strip()
        assert "Paris" in row.answer, row.answer
        return row


def _prepare(node: Node, root: Node, release: str, kind: str) -> None:
    script = ["export DEBIAN_FRONTEND=noninteractive", f"echo 'plain:{PASSWORD}' | chpasswd"]
    if kind.startswith("sudo"):
        script.append("usermod -aG sudo plain")
    if kind == "sudo without a password":
        script.append("echo 'plain ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/rules")
    if RELEASES[release]:
        # Without it no login has a systemd manager; only the barest machines lack it.
        script.append("apt-get -qq update && apt-get -qq -y install libpam-systemd")
        script.append("rm -rf /var/lib/apt/lists/*")
    root.must("sh", "-ec", "\n".join(script))
    # A login gets no environment of the container's.
    passed = "".join(f"{name}={value}\n" for name, value in environment().items())
    root.must("sh", "-c", "cat >> /etc/environment", input=passed)
    node.copy_checkout()


class Shell:
    """A login of the node's user, in the checkout, on a terminal."""

    def __init__(self, node: Node) -> None:
        words = ["exec", "-it", "--user", "root", node.name, "su", "-", node.user]
        program, *rest = node.podman.command(*words)
        self._child = pexpect.spawn(program, rest, timeout=600, dimensions=(40, 300))
        self._seen: list[str] = []
        self._child.expect(rb"[$#] ")
        if node.run("test", "-d", node.checkout).code == 0:
            self._child.sendline(f"cd {node.checkout}")
            self._child.expect(rb"[$#] ")

    def type(self, command: str, row: Row) -> int:
        """Type the command, answer what it asks, and return its exit code."""
        row.typed.append(command)
        began = time.monotonic()
        self._child.sendline(command + "; echo ending=$?")
        while True:
            asked = self._child.expect([_END.encode(), *(word.encode() for word in _ANSWERS)])
            self._seen.append((self._child.before + self._child.after).decode(errors="replace"))
            if asked == 0:
                row.seconds += time.monotonic() - began
                return int(self._child.match.group(1))
            answer = list(_ANSWERS.values())[asked - 1]
            row.typed.append({"": "Enter", PASSWORD: "the password"}.get(answer, answer))
            self._child.sendline(answer)

    def screen(self) -> str:
        """Return what was on the terminal so far, each blank as one."""
        return re.sub(r"\s+", " ", "".join(self._seen))


def rows(*kinds: str) -> Iterator[tuple[str, Row]]:
    """Measure each kind on each release; yield its name, with how much was typed, and the row."""
    podman = Podman()
    try:
        for release, systemd in RELEASES.items():
            for kind in kinds or KINDS:
                row = measure(release, kind, podman)
                where = f"Debian {release}{'' if systemd else ', no systemd'}"
                yield f"{where}, {kind}: {len(row.typed)} typed", row
    finally:
        podman.close()


def main() -> None:
    for name, row in rows(*sys.argv[1:]):
        print(f"{name}, {row.seconds:.1f} s: {'; '.join(row.typed)} -> {row.answer}", flush=True)


if __name__ == "__main__":
    main()
