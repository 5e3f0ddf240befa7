"""A fleet from unknown keys to models that answer, with all that goes wrong on the way.

The tests build on each other in this order, as a person would go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths

from .hands import BABBLE, EVIL, SPY, mentioned, names, payloads, put_interpreter, take_interpreter
from .machines import PASSWORD, SMALL, Garbage, Lab, Origin, files_with, wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

PASSWORD_VARIABLES = ("ansible_password", "ansible_become_password")
MODEL = paths.catalog() / "smoke.gguf"
#: No canary and one wave: whoever is due begins.
AT_ONCE = ("--yes", "--canary", "0", "--waves", "100%", "--install-python")


@pytest.fixture(scope="module")
def origin(lab: Lab) -> Iterator[Origin]:
    """The model of all hosts; only this machine can reach it."""
    with Origin(MODEL.read_bytes()) as running:
        lab.write_inventory(dream_model=running.url, dream_model_sha256=running.sha256)
        yield running


class Troubles:
    """One host for every kind of trouble; ``codes`` are what each may be told as."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.disk, self.stopped, self.cut, self.key, self.garbage = reversed(lab.native[-5:])
        left = lab.native[:-5]
        self.become = [name for name in left if name.startswith("password")][-1]
        self.codes = {
            self.disk: {"DISK_FULL"},
            self.stopped: {"HOST_UNREACHABLE"},
            self.cut: {"HOST_UNREACHABLE"},
            self.key: {"HOST_KEY_CHANGED"},
            self.become: {"SUDO_REFUSED"},
            self.garbage: {"HOST_GARBAGE"},
            "nonsense": {"HOST_GARBAGE"},
        }

    def __enter__(self) -> Troubles:
        lab = self.lab
        self._known = lab.known_hosts.read_text()
        lab.forge_key(self.key, self.disk)
        lab.hosts[self.become]["ansible_become_password"] = "not it"
        put_interpreter(lab, self.garbage, BABBLE)
        fill = f"dd if=/dev/zero of={SMALL}/ballast bs=1M 2>/dev/null || true"
        lab.nodes[self.disk].must("sh", "-c", fill, user="root")
        self._babbler = Garbage().__enter__()
        lab.hosts["nonsense"] = {"ansible_host": "127.0.0.1", "ansible_port": self._babbler.port}
        lab.write_inventory()
        return self

    def __exit__(self, *_: object) -> None:
        lab = self.lab
        lab.known_hosts.write_text(self._known)
        lab.hosts[self.become]["ansible_become_password"] = PASSWORD
        take_interpreter(lab, self.garbage)
        lab.nodes[self.disk].must("rm", "-f", f"{SMALL}/ballast", user="root")
        self._babbler.__exit__()
        del lab.hosts["nonsense"]
        lab.write_inventory()

    def install(self) -> tuple[dict[str, Any], str]:
        """Install everywhere; stop one host and cut one off when each is at work."""
        lab = self.lab
        before = set(lab.state.glob("runs/*"))
        words = (*AT_ONCE, "--max-fail", "100%")
        with lab.started("install", *words) as running, lab.cut_off(self.cut):
            waiting = {self.stopped: lab.lose, self.cut: self._cut}
            while waiting and running.poll() is None:
                for name in [name for name in waiting if _is_begun(lab, before, name)]:
                    waiting.pop(name)(name)
                time.sleep(0.3)
            running.wait(timeout=1500)
            # The host heard nothing for a minute, and does nothing for us any more.
            wait_for("the host that was cut off to rest", lambda: not lab.at_work(self.cut), 90)
        lab.give_power(self.stopped)
        said = (lab.directory / "started.log").read_text()
        assert not waiting, said
        (run,) = set(lab.state.glob("runs/*")) - before
        return json.loads((run / "report.json").read_text()), said

    def _cut(self, name: str) -> None:
        self.lab.inside(name, "ip", "link", "set", "eth0", "down")


def _is_begun(lab: Lab, before: set[Path], name: str) -> bool:
    """Tell whether the host is at work in the run that goes on now."""
    return any(
        '"phase_started"' in path.read_text()
        for run in set(lab.state.glob("runs/*")) - before
        for path in run.glob(f"hosts/{name}/events.jsonl")
    )


def fingerprint(lab: Lab, name: str) -> str:
    command = ("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub")
    return lab.nodes[name].must(*command, user="root").out.split()[1]


def test_wrong_settings_are_told_of_every_host_before_anything_starts(lab: Lab) -> None:
    names = list(lab.hosts)
    lab.hosts[names[0]]["dream_engine_port"] = 99999
    lab.hosts[names[1]]["dream_teir"] = "T1"
    lab.write_inventory()
    done = lab.run("install", "--yes", "--json")
    for name, variable in ((names[0], "dream_engine_port"), (names[1], "dream_teir")):
        lab.hosts[name].pop(variable)
    lab.write_inventory()
    assert done.code == 2, str(done)
    problems = {item["where"] for item in done.json()["error"]["problems"]}
    assert problems == {f"{names[0]}: dream_engine_port", f"{names[1]}: dream_teir"}


def test_unknown_host_keys_stop_with_their_fingerprint(lab: Lab) -> None:
    done = lab.run("install", "--yes", "--json")
    assert done.code == 13, str(done)
    errors = {host["host"]: host["error"] for host in done.json()["hosts"]}
    assert errors["key"]["code"] == "HOST_KEY_UNKNOWN", str(done)
    assert fingerprint(lab, "key") in errors["key"]["what"]
    assert "--accept-new-host-keys" in errors["key"]["hint"]
    assert not any(lab.receipts(name) for name in lab.nodes)


def test_keys_are_accepted_when_told_so_and_the_plan_writes_nothing(lab: Lab) -> None:
    # The jump host first: behind it nobody can be reached before its key is known.
    first = lab.run("status", "--limit", "key", "--accept-new-host-keys", "--json")
    assert first.states() == {"key": "absent"}, str(first)
    done = lab.run("plan", "--accept-new-host-keys", "--exit-code", "--json")
    assert done.code == 20, str(done)
    assert set(done.states().values()) == {"due"}
    assert not any(lab.receipts(name) for name in lab.nodes)
    assert lab.run("plan", "--json").states() == done.states()


def test_passwords_from_a_file_and_a_descriptor(lab: Lab) -> None:
    without = {key: lab.hosts["password"].pop(key) for key in PASSWORD_VARIABLES}
    lab.write_inventory()
    refused = lab.run("status", "--limit", "password", "--json")
    file = lab.directory / "password.txt"
    file.write_text(PASSWORD + "\n")
    exposed = lab.run("status", "--limit", "password", "--password-file", str(file))
    file.chmod(0o600)
    with file.open() as stream:
        descriptor = f"/dev/fd/{stream.fileno()}"
        done = lab.run(
            *("plan", "--limit", "password", "--json", "--password-file", str(file)),
            *("--become-password-file", descriptor),
            pass_fds=(stream.fileno(),),
        )
    file.unlink()
    lab.hosts["password"] |= without
    lab.write_inventory()
    assert refused.json()["hosts"][0]["error"]["code"] == "LOGIN_REFUSED", str(refused)
    assert (exposed.code, "PASSWORD_FILE" in exposed.err) == (2, True), str(exposed)
    assert done.states() == {"password": "due"}, str(done)


def test_a_failed_canary_leaves_the_others_untouched(lab: Lab) -> None:
    canary = next(iter(lab.nodes))
    in_the_way = f"{lab.home(canary)}/ai-server"
    lab.nodes[canary].must("touch", in_the_way, user="root")
    done = lab.run("install", "--yes", "--json", "--max-fail", "100%")
    lab.nodes[canary].must("rm", in_the_way, user="root")
    assert done.code == 13, str(done)
    states = done.states()
    assert states.pop(canary) == "failed", str(done)
    assert set(states.values()) == {"untouched"}
    assert done.json()["stopped"] == "the canary failed"
    assert not any(lab.receipts(name) for name in states)


def test_the_wrong_password_for_sudo_is_found_before_the_work(lab: Lab) -> None:
    lab.hosts["password"]["ansible_become_password"] = "not it"
    lab.write_inventory()
    done = lab.run("install", "--yes", "--json", "--limit", "password")
    lab.hosts["password"]["ansible_become_password"] = PASSWORD
    lab.write_inventory()
    assert done.code == 13, str(done)
    host = done.json()["hosts"][0]
    assert (host["stage"], host["error"]["code"]) == ("preflight", "SUDO_REFUSED"), str(done)
    assert not lab.receipts("password")


@pytest.mark.slow
def test_a_host_without_sudo_or_python_is_told_of_what_it_lacks(lab: Lab) -> None:
    name, node = "jump", lab.nodes["jump"]
    node.must("apt-get", "-q", "-y", "purge", "libgomp1", user="root")
    node.must("mv", "/usr/bin/sudo", "/usr/bin/sudo.away", user="root")
    done = lab.run("install", "--yes", "--json", "--limit", name)
    node.must("mv", "/usr/bin/sudo.away", "/usr/bin/sudo", user="root")
    host = done.json()["hosts"][0]
    assert (host["stage"], host["error"]["code"]) == ("preflight", "SUDO_MISSING"), str(done)
    node.must("apt-get", "-q", "-y", "purge", "--auto-remove", "python3*", user="root")
    assert node.run("python3", "--version").code
    done = lab.run("plan", "--json", "--limit", name)
    error = done.json()["hosts"][0]["error"]
    assert (done.code, error["code"]) == (13, "HOST_NO_PYTHON"), str(done)
    assert "--install-python" in error["hint"]
    # It stays like that: the first install of all brings it.


@pytest.mark.slow
def test_kill_of_the_controller_leaves_hosts_that_rest(lab: Lab, origin: Origin) -> None:
    with lab.started("install", *AT_ONCE) as running:
        wait_for(
            "the services phase",
            lambda: (
                running.poll() is not None
                or any("services" in lab.receipts(name) for name in lab.nodes)
            ),
        )
        assert running.poll() is None, (lab.directory / "started.log").read_text()
        os.kill(running.pid, signal.SIGKILL)
    for name in lab.nodes:
        # Two seconds of politeness (lifeline.py) and the time to look.
        wait_for(f"{name} to rest", lambda name=name: not lab.at_work(name), 90)  # type: ignore[misc]


@pytest.mark.slow
def test_every_kind_of_trouble_is_told_and_harms_nobody_else(lab: Lab, origin: Origin) -> None:
    if len(lab.native) < 8:
        pytest.skip("needs DREAM_TEST_FLEET=8 or more")
    due = {name for name, state in lab.run("plan", "--json").states().items() if state == "due"}
    with Troubles(lab) as troubles:
        assert troubles.codes.keys() - {"nonsense"} <= due, f"not due any more: {due}"
        report, said = troubles.install()
    hosts = {host["host"]: host for host in report["hosts"]}
    found = {name: (hosts[name]["error"] or {}).get("code") for name in troubles.codes}
    assert all(found[name] in codes for name, codes in troubles.codes.items()), said
    # All others: those that the killed run had begun, and those that it had not.
    others = hosts.keys() - troubles.codes.keys()
    assert {hosts[name]["state"] for name in others} <= {"done", "unchanged"}, said
    assert {hosts[name]["state"] for name in troubles.codes} == {"failed"}, said
    assert report["counts"]["failed"] == len(troubles.codes)
    assert (report["exit_code"], report["outcome"]) == (13, "failed")
    # Once a group, and a line a host.
    grouped = [name for group in report["errors"] for name in group["hosts"]]
    assert sorted(grouped) == sorted(troubles.codes)
    for name, codes in found.items():
        assert f"{name}: failed" in said, codes
    assert all(lab.run("status", "--json", "--limit", name).code == 0 for name in list(others)[:3])
    assert "\x1b" not in said


@pytest.mark.slow
def test_the_next_run_goes_on_and_the_origin_was_asked_once(lab: Lab, origin: Origin) -> None:
    # A node that was without power may have another address, whose key nobody knows yet.
    done = lab.run("install", *AT_ONCE, "--json", "--accept-new-host-keys")
    assert done.code == 0, str(done)
    assert set(done.states().values()) <= {"done", "unchanged"}
    # Nobody but this machine can reach the origin, and it was asked once for all.
    assert origin.sent <= 1.02 * len(origin.content)
    digest = hashlib.sha256(origin.content).hexdigest()
    assert {lab.digest(name, "model.gguf") for name in lab.nodes} == {digest}


@pytest.mark.slow
def test_every_model_answers_and_the_second_run_changes_nothing(lab: Lab) -> None:
    status = lab.run("status", "--json")
    assert status.code == 0, str(status)
    assert set(status.states().values()) == {"ready"}
    again = lab.run("install", "--yes", "--json")
    assert again.code == 0, str(again)
    assert set(again.states().values()) == {"unchanged"}
    assert sum(host["changed"] for host in again.json()["hosts"]) == 0


@pytest.mark.slow
def test_hosts_serve_each_other_and_one_that_lies_or_dies_costs_bytes_only(lab: Lab) -> None:
    content = MODEL.read_bytes() + random.Random(3).randbytes(16 * 1024 * 1024)
    honest, liar, dying = lab.native[:3]
    with Origin(content) as origin:
        lab.write_inventory(dream_model=origin.url, dream_model_sha256=origin.sha256)
        first = lab.run("install", *AT_ONCE, "--json", "--limit", f"{honest},{liar},{dying}")
        assert first.code == 0, str(first)
        _turn_into_a_liar(lab, liar)
        before = set(lab.state.glob("runs/*"))
        with lab.started("install", *AT_ONCE, "--share", "--max-fail", "100%") as running:
            wait_for(
                "a host to serve", lambda: running.poll() is not None or _serves(lab, dying), 300
            )
            lab.nodes[dying].run("pkill", "-f", "blob_server.py", user="root")
            running.wait(timeout=1500)
        said = (lab.directory / "started.log").read_text()
        assert running.returncode == 0, said
        assert origin.sent <= 1.02 * len(content)
        wrong = {n for n in lab.nodes if lab.digest(n, "model.gguf") != origin.sha256}
        assert wrong == {liar}, said
        (run,) = set(lab.state.glob("runs/*")) - before
        traffic = json.loads((run / "report.json").read_text())["traffic"]
        assert traffic["peer_bytes"] >= len(content), said
        # Who was lied to fetched the piece in question again, and what was on the wire then.
        most = (len(lab.nodes) - 3) * (len(content) + 4 * 1024 * 1024)
        assert traffic["peer_bytes"] + traffic["served_bytes"] <= most, said
        assert traffic["origin_bytes"] == 0
        assert not any(_serves(lab, name) for name in lab.nodes)
        mended = lab.run("install", *AT_ONCE, "--json", "--verify", "--limit", liar)
        assert mended.code == 0, str(mended)
        assert lab.digest(liar, "model.gguf") == origin.sha256


def _serves(lab: Lab, name: str) -> bool:
    return any("blob_server.py" in line for line in lab.nodes[name].processes())


def _turn_into_a_liar(lab: Lab, name: str) -> None:
    """Change a host's model as somebody would who wants nobody to notice."""
    path = f"{lab.install_dir(name)}/data/models/model.gguf"
    lab.nodes[name].python(
        "import os\n"
        f"path = {path!r}\n"
        "was = os.stat(path)\n"
        "with open(path, 'r+b') as stream:\n"
        "    stream.seek(8 * 1024 * 1024)\n"
        "    stream.write(bytes(1024 * 1024))\n"
        "os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))\n",
        user="root",
    )


@pytest.mark.slow
def test_a_host_sees_nothing_of_another(lab: Lab) -> None:
    spy, other = lab.native[0], ([*lab.native, *lab.hosts][-1])
    lab.nodes[spy].must("mkdir", "-m", "0777", "/spied", user="root")
    put_interpreter(lab, spy, SPY)
    done = lab.run("install", *AT_ONCE, "--full", "--json", "--limit", f"{spy},{other}")
    take_interpreter(lab, spy)
    assert done.code == 0, str(done)
    spied = lab.nodes[spy].must("cat", "/spied/log", user="root").out
    lab.nodes[spy].must("rm", "-r", "/spied", user="root")
    # It did see what went to itself.
    assert lab.install_dir(spy) in spied
    foreign = {lab.hosts[other]["ansible_host"], PASSWORD, *_secrets(lab, other)}
    assert not mentioned(foreign, spied)
    ours, theirs = _secrets(lab, spy), _secrets(lab, other)
    assert theirs or not other.startswith("full")
    assert not ours & theirs


def _secrets(lab: Lab, name: str) -> set[str]:
    """Return what the host's environment files keep."""
    script = f"cat {lab.install_dir(name)}/.env {lab.install_dir(name)}/*/.env 2>/dev/null || true"
    lines = lab.nodes[name].must("sh", "-c", script, user="root").out.splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    kinds = ("KEY", "SECRET", "TOKEN", "PASSWORD")
    found = {value.strip("'\"") for key, _, value in pairs if any(k in key.upper() for k in kinds)}
    return {value for value in found if len(value) >= 16}


@pytest.mark.slow
def test_a_host_in_foreign_hands_writes_nothing_here_or_at_its_peers(
    lab: Lab, tmp_path: Path
) -> None:
    evil, other = lab.native[0], lab.native[1]
    mark = tmp_path / "marked"
    put_interpreter(lab, evil, EVIL % payloads(mark))
    around = names(lab.directory.parent, but=lab.directory / "state")
    before = lab.nodes[other].listing("/etc") | lab.nodes[other].listing(lab.home(other))
    both = f"{evil},{other}"
    done = [
        lab.run("plan", "--limit", both),
        lab.run("install", *AT_ONCE, "--json", "--max-fail", "100%", "--limit", both),
        lab.run("install", *AT_ONCE, "--full", "--share", "--limit", both),
        lab.run("exec-doctor", "--limit", both),
    ]
    take_interpreter(lab, evil)
    text = "\n".join(map(str, done))
    assert not mark.exists(), text
    assert names(lab.directory.parent, but=lab.directory / "state") == around
    assert not any("\x1b" in str(item) for item in done)
    assert done[1].states()[other] in ("done", "unchanged"), text
    after = lab.nodes[other].listing("/etc") | lab.nodes[other].listing(lab.home(other))
    new = after.keys() - before.keys()
    assert not {path for path in new if "/.local/state/dream-runner/" not in path}, new
    good = lab.run("install", *AT_ONCE, "--json", "--limit", both)
    assert good.code == 0, str(good)


@pytest.mark.slow
def test_status_is_one_task_a_host(lab: Lab) -> None:
    before = set(lab.state.glob("looks/runs/*"))
    assert lab.run("status").code == 0
    (run,) = set(lab.state.glob("looks/runs/*")) - before
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    ended = [event for event in events if event["type"] == "task_finished"]
    assert sorted(event["host"] for event in ended) == sorted(lab.hosts)


@pytest.mark.slow
def test_doctor_tells_of_a_service_that_was_stopped_and_install_mends_it(lab: Lab) -> None:
    node = lab.nodes["root"]
    node.must("systemctl", "stop", "dream-runner-engine", user="root")
    sick = lab.run("exec-doctor", "--json", "--limit", "root")
    assert sick.code == 13, str(sick)
    assert {item["id"] for item in sick.json()["hosts"][0]["findings"]} >= {"engine", "drift"}
    mended = lab.run("install", "--yes", "--json", "--limit", "root")
    assert mended.code == 0, str(mended)
    assert lab.run("exec-doctor", "--json", "--limit", "root").code == 0


@pytest.mark.slow
def test_one_host_that_is_gone_costs_nobody_else(lab: Lab) -> None:
    lab.hosts["gone"] = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_user": "root"}
    lab.write_inventory()
    done = lab.run("install", "--yes", "--json", "--max-fail", "1")
    stopped = lab.run("install", "--yes", "--json", "--max-fail", "0", "--full")
    del lab.hosts["gone"]
    lab.write_inventory()
    assert (done.code, done.states()["gone"]) == (13, "failed"), str(done)
    assert done.json()["counts"]["unchanged"] == len(lab.hosts)
    assert stopped.code == 13
    assert stopped.json()["counts"]["untouched"] == len(lab.hosts), str(stopped)


@pytest.mark.slow
def test_ctrl_c_ends_the_work_and_leaves_a_report(lab: Lab) -> None:
    before = set(lab.state.glob("runs/*"))
    with lab.started("install", "--yes", "--full", "--limit", "root") as running:
        wait_for("the first phase", lambda: _phases_begun(lab, before))
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=120) == 130, (lab.directory / "started.log").read_text()
    (run,) = set(lab.state.glob("runs/*")) - before
    report = json.loads((run / "report.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("interrupted", 130)
    assert report["hosts"][0]["state"] == "interrupted"
    again = lab.run("install", "--yes", "--json", "--limit", "root")
    assert again.code == 0, str(again)


def _phases_begun(lab: Lab, before: set[Path]) -> bool:
    journals = [
        path
        for run in set(lab.state.glob("runs/*")) - before
        for path in run.glob("hosts/*/events.jsonl")
    ]
    return any('"phase_started"' in path.read_text() for path in journals)


@pytest.mark.slow
def test_no_password_stays_anywhere_and_nothing_is_left_on_the_hosts(lab: Lab) -> None:
    inventory = lab.inventory
    found = set(files_with(PASSWORD, lab.directory)) - {inventory}
    assert not found
    left = [
        path for path in lab.state.rglob("*") if path.name in ("work", "answers", "variables.json")
    ]
    assert not left
    for name in lab.nodes:
        assert "No such file" in lab.sockets(name), lab.sockets(name)


@pytest.mark.slow
def test_uninstall_takes_it_all_back(lab: Lab) -> None:
    refused = lab.run("uninstall", "--json")
    assert refused.code == 2, str(refused)
    done = lab.run("uninstall", "--yes", "--purge", "--json")
    assert done.code == 0, str(done)
    assert set(lab.run("status", "--json").states().values()) == {"absent"}
    for name in lab.nodes:
        there = lab.nodes[name].run("test", "-e", lab.install_dir(name), user="root")
        assert there.code == 1
