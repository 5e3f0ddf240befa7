"""Open WebUI without containers, whole: installed on a bare machine, signed in, asked, removed.

The packages come from the package index (737 MB for each machine), so that this is one of the slow
tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from nodes.node import Node

from .machine import chat
from .whole import BOOTSTRAP, files, owner_of, packages, unexplained

pytestmark = [pytest.mark.node, pytest.mark.slow, pytest.mark.timeout(3600)]

MakeNode = Callable[..., Node]
COMMAND = ("--profile", "native", "--model", "small", "--webui", "yes", "--yes")

#: Asks the application as a browser does: ``METHOD PATH BODY TOKEN``; prints status and answer.
_ASK = """
import json, sys, urllib.error, urllib.request
method, path, body, token = sys.argv[1:5]
headers = {"Content-Type": "application/json"}
if token:
    headers["Authorization"] = "Bearer " + token
request = urllib.request.Request(
    "http://127.0.0.1:3000" + path, body.encode() or None, headers, method=method
)
try:
    with urllib.request.urlopen(request, timeout=300) as answer:
        status, text = answer.status, answer.read().decode()
except urllib.error.HTTPError as error:
    status, text = error.code, error.read().decode()
try:
    content = json.loads(text)
except ValueError:
    content = text[:200]
print(json.dumps([status, content]))
"""


#: Waits until the application answers.
_WAIT = """
import time, urllib.request
deadline = time.monotonic() + 300
while True:
    try:
        urllib.request.urlopen("http://127.0.0.1:3000/health", timeout=2)
        break
    except OSError:
        assert time.monotonic() < deadline
        time.sleep(0.5)
"""


def ask(machine: Node, method: str, path: str, body: Any = None, token: str = "") -> Any:
    said = machine.must(
        *("python3", "-B", "-I", "-c", _ASK, method, path),
        *(json.dumps(body) if body is not None else "", token),
    )
    return json.loads(said.out)


def secret(machine: Node, name: str) -> str:
    text = machine.must("cat", f"{machine.home}/ai-server/.env").out
    (line,) = (line for line in text.splitlines() if line.startswith(name + "="))
    return line.partition("=")[2].strip("'\"")


def sign_in(machine: Node) -> str:
    account = {
        "email": "admin@dream-runner.local",
        "password": secret(machine, "WEBUI_ADMIN_PASSWORD"),
    }
    status, answer = ask(machine, "POST", "/api/v1/auths/signin", account)
    assert (status, answer["role"]) == (200, "admin")
    return str(answer["token"])


def sign_up(machine: Node) -> int:
    other = {"name": "x", "email": "x@example.org", "password": "correct horse"}
    return int(ask(machine, "POST", "/api/v1/auths/signup", other)[0])


def restart(machine: Node) -> None:
    """End the application; whoever supervises it starts it again."""
    (pid,) = (line.split()[0] for line in machine.processes() if "open_webui_server.py" in line)
    machine.must("kill", pid)
    time.sleep(2)
    machine.must("python3", "-B", "-I", "-c", _WAIT, timeout=600)


def leave_without(machine: Node) -> None:
    """Install without the application: it goes, its data stay, and the engine answers."""
    folder = f"{machine.home}/ai-server"
    command = [*COMMAND[:-3], "--webui", "no", "--yes"]
    done = machine.install(*command, timeout=1200)
    assert done.code == 0, str(done)
    assert "open_webui_server" not in "\n".join(machine.processes())
    for gone in ("webui", "config/webui", "data/open-webui/cache/whisper/base"):
        assert machine.run("test", "-e", f"{folder}/{gone}").code == 1, gone
    machine.must("test", "-s", f"{folder}/data/open-webui/webui.db")
    assert chat(machine)
    status = machine.runner("status", "--json")
    assert (status.code, status.json()["state"]) == (0, "ready"), str(status)
    again = machine.install(*command, "--full", "--json", timeout=1200)
    assert again.code == 0, str(again)
    assert again.json()["tasks"]["changed"] == 0, str(again)


@pytest.mark.parametrize(
    ("release", "systemd", "user"),
    [
        pytest.param("12", False, "root", id="debian12-no-systemd-root"),
        pytest.param("13", True, "sudoer", id="debian13-systemd-sudoer"),
    ],
)
def test_a_bare_machine_gets_a_whole_application(
    node: MakeNode, release: str, systemd: bool, user: str
) -> None:
    machine = node(release, systemd=systemd, user=user)
    machine.copy_checkout()
    before, packages_before = files(machine), packages(machine)
    done = machine.install(*COMMAND, timeout=2400)
    assert done.code == 0, str(done)
    assert "Chat in your browser   http://127.0.0.1:3000/" in done.out
    assert "Engine's own page      http://127.0.0.1:11434/" in done.out
    assert "chat documents dictation" in done.out, "each feature was tested"
    assert chat(machine), "the engine's own page stays"

    token = sign_in(machine)
    assert sign_up(machine) == 403, "nobody else makes an account"
    question = {"role": "user", "content": "What is the capital of France?"}
    body = {"model": "smollm2-135m-q4", "messages": [question], "stream": False, "max_tokens": 20}
    status, answer = ask(machine, "POST", "/api/chat/completions", body, token)
    assert (status, "Paris" in answer["choices"][0]["message"]["content"]) == (200, True)
    status, page = ask(machine, "GET", "/")
    assert (status, "Open WebUI" in page) == (200, True), "its name stays"

    # What an administrator changes lasts until the restart: the environment decides.
    status, config = ask(machine, "GET", "/api/v1/auths/admin/config", token=token)
    assert status == 200
    assert config["ENABLE_SIGNUP"] is False
    changed = {**config, "ENABLE_SIGNUP": True}
    assert ask(machine, "POST", "/api/v1/auths/admin/config", changed, token)[0] == 200
    assert sign_up(machine) == 200
    restart(machine)
    assert (
        ask(machine, "GET", "/api/v1/auths/admin/config", token=sign_in(machine))[1][
            "ENABLE_SIGNUP"
        ]
        is False
    )

    again = machine.install(*COMMAND, "--full", "--json", timeout=1200)
    assert again.code == 0, str(again)
    assert again.json()["tasks"]["changed"] == 0, str(again)

    leave_without(machine)

    done = machine.runner("uninstall", "--purge", "--yes", "--json")
    assert done.code == 0, str(done)
    assert done.json()["left"] == []
    assert "open_webui_server" not in "\n".join(machine.processes())
    assert machine.install("--remove-runner").code == 0
    more = {line.split()[0] for line in packages(machine) ^ packages_before}
    bootstrap = {name for name in more if BOOTSTRAP.fullmatch(name)}
    assert more - bootstrap == set()
    theirs = set(machine.must("dpkg-query", "--listfiles", *bootstrap).out.splitlines())
    found = unexplained(before, files(machine))
    assert [line for line in found if owner_of(line.partition(":")[0]) not in theirs] == []
