"""What hosts may know of each other and do to anybody, where nothing is installed yet."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml

from dream_runner.fleet.inventory.hosts import InventoryHost
from dream_runner.fleet.peer_sharing import Offer, Shares
from dream_runner.fleet.ssh_sockets import Wires

from .hands import EVIL, SPY, mentioned, names, payloads, put_interpreter, take_interpreter
from .machines import PASSWORD, Lab, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

ACCEPT = "--accept-new-host-keys"


def test_the_look_at_a_host_tells_it_nothing_of_another(lab: Lab) -> None:
    spy, other = list(lab.hosts)[:2]
    lab.nodes[spy].must("mkdir", "-m", "0777", "/spied", user="root")
    put_interpreter(lab, spy, SPY)
    done = lab.run("plan", "--json", "--limit", f"{spy},{other}", ACCEPT)
    take_interpreter(lab, spy)
    assert done.code == 0, str(done)
    spied = lab.nodes[spy].must("cat", "/spied/log", user="root").out
    lab.nodes[spy].must("rm", "-r", "/spied", user="root")
    # It did see what went to itself.
    assert "dream_survey" in spied
    assert ".local/state/dream-runner" in spied
    foreign = {str(lab.hosts[other]["ansible_host"]), PASSWORD}
    assert not mentioned(foreign, spied)


def test_what_a_host_in_foreign_hands_says_writes_nothing_here(lab: Lab, tmp_path: Path) -> None:
    evil, other = list(lab.hosts)[:2]
    mark = tmp_path / "marked"
    put_interpreter(lab, evil, EVIL % payloads(mark))
    around = names(lab.directory.parent, but=lab.directory / "state")
    done = lab.run("plan", "--limit", f"{evil},{other}", ACCEPT)
    take_interpreter(lab, evil)
    assert "due" in next(line for line in done.out.splitlines() if line.startswith(other)), str(
        done
    )
    assert not mark.exists()
    # The keys of hosts were accepted, and that is all.
    assert names(lab.directory.parent, but=lab.directory / "state") - around <= {lab.known_hosts}
    assert "\x1b" not in str(done)


@contextlib.contextmanager
def agent(directory: Path, key: Path) -> Iterator[str]:
    """Yield the socket of an agent that holds ``key``."""
    path = str(directory / "agent.sock")
    command = ["ssh-agent", "-D", "-a", path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            wait_for("the agent", lambda: Path(path).exists(), 10)
            words = ["ssh-add", "-q", str(key)]
            subprocess.run(words, env={**os.environ, "SSH_AUTH_SOCK": path}, check=True)
            yield path
        finally:
            running.terminate()


def test_the_key_of_an_agent_lets_us_in(lab: Lab, tmp_path: Path) -> None:
    name = next(iter(lab.hosts))
    host = {
        **lab.hosts[name],
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={lab.known_hosts}",
        "dream_profile": "native",
        "dream_model": "smoke",
    }
    inventory = tmp_path / "agent.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {name: host}}}))
    command = lab.command("plan", "-i", str(inventory), "--json", ACCEPT)
    # A home without keys of somebody's own.
    home = {**lab.environment(), "HOME": str(tmp_path)}

    def ask(**more: str) -> Any:
        done = subprocess.run(
            command, env={**home, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        return json.loads(done.stdout)

    assert ask()["hosts"][0]["error"]["code"] == "LOGIN_REFUSED"
    with agent(tmp_path, lab.key) as path:
        assert ask(SSH_AUTH_SOCK=path)["exit_code"] == 0


def test_passwords_that_are_typed_are_not_shown(lab: Lab, tmp_path: Path) -> None:
    unsaid = ("ansible_password", "ansible_become_password")
    host = {key: value for key, value in lab.hosts["password"].items() if key not in unsaid}
    shared = {
        "ansible_ssh_common_args": lab.ssh_options,
        "dream_profile": "native",
        "dream_model": "smoke",
    }
    inventory = tmp_path / "asked.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"password": host | shared}}}))
    first, *rest = lab.command("plan", "-i", str(inventory), "-k", "-K", ACCEPT)
    child = pexpect.spawn(first, rest, env=lab.environment(), encoding="utf-8", timeout=60)
    child.logfile_read = said = io.StringIO()
    for question in ("SSH password for 1 host: ", "[sudo] password on 1 host: "):
        child.expect_exact(question)
        child.sendline(PASSWORD)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, said.getvalue()
    assert PASSWORD not in said.getvalue()


def test_a_key_that_changed_is_refused_whatever_is_accepted(lab: Lab) -> None:
    other, name = list(lab.hosts)[:2]
    known = lab.known_hosts.read_text()
    lab.forge_key(name, other)
    done = lab.run("status", "--json", "--limit", name, ACCEPT)
    lab.known_hosts.write_text(known)
    assert done.code == 13, str(done)
    assert done.json()["hosts"][0]["error"]["code"] == "HOST_KEY_CHANGED", str(done)


CONTENT = random.Random(4).randbytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
#: As dream_model leaves it.
STAMP = """
import json, os
path, digest = "/srv/models/m.gguf", %r
was = os.stat(path)
stamp = {"schema": 1, "path": path, "size_bytes": was.st_size, "mtime_ns": was.st_mtime_ns}
with open("/srv/models/.m.gguf.stamp", "w") as stream:
    json.dump({**stamp, "inode": was.st_ino, "sha256": digest}, stream)
"""
ASK = """
import hashlib, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
try:
    print(hashlib.sha256(urllib.request.urlopen(request, timeout=10).read()).hexdigest())
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print("nobody")
"""


@pytest.fixture
def wires(lab: Lab) -> Iterator[Wires]:
    """The connection to the first host, as Ansible leaves it."""
    name = next(iter(lab.hosts))
    said = {key: str(value) for key, value in lab.hosts[name].items()}
    made = Wires([InventoryHost(name, connection=said)], lambda _: None, accept_new_host_keys=True)
    words = [*made.ssh_args(name).split(), *made.forwards(name).split()]
    words += ["-i", str(lab.key), *lab.ssh_options.split(), "-l", said["ansible_user"]]
    words += ["-o", f"ControlPath={made.control_path(name)}", said["ansible_host"], "true"]
    # With a pipe for its output, ssh's shared connection would keep us waiting.
    subprocess.run(["ssh", *words], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield made
    made.close_connection(name)
    made.close()


def test_a_host_serves_another_while_the_run_lasts(lab: Lab, wires: Wires) -> None:
    sharer, asker = list(lab.hosts)[:2]
    node = lab.nodes[sharer]
    model = lab.directory / "m.gguf"
    model.write_bytes(CONTENT)
    node.must("mkdir", "-m", "0777", "-p", "/srv/models", user="root")
    node.copy_in(model, "/srv/models/m.gguf")
    node.python(STAMP % DIGEST)
    offer = Offer("/usr/bin/python3", "/srv/models", {DIGEST: "m.gguf"})

    def ask(url: str, token: str) -> str:
        said = lab.nodes[asker].must("python3", "-B", "-I", "-c", ASK, url, token)
        return said.out.strip()

    with Shares(wires, "of-this-run", {sharer: offer, asker: offer}) as shares:
        assert shares.begin(sharer)
        (base,) = shares.peers(asker)
        # The address at which we came in, not all of them.
        assert base.startswith(f"http://{lab.hosts[sharer]['ansible_host']}:")
        url = f"{base}/blobs/{DIGEST}"
        assert ask(url, "of-this-run") == DIGEST
        assert ask(url, "of-another") == "401"
        assert ask(f"{base}/blobs/{'0' * 64}", "of-this-run") == "404"
        (line,) = [line for line in node.processes() if "blob_server.py" in line and " -I " in line]
        assert "of-this-run" not in line
        assert line.split()[1] == lab.hosts[sharer]["ansible_user"]
    assert ask(url, "of-this-run") == "nobody"
    assert shares.bytes_served == len(CONTENT)
    assert not any("blob_server.py" in line for line in node.processes())
    assert "No such file" in lab.sockets(sharer)
