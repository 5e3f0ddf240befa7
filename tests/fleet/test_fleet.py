"""A fleet from unknown keys to models that answer, with all that goes wrong on the way.

The tests build on each other in this order, as a person would go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dream_runner import paths

from .machines import PASSWORD, Lab, Origin, files_with

pytestmark = [pytest.mark.node, pytest.mark.timeout(1800)]

PASSWORD_VARIABLES = ("ansible_password", "ansible_become_password")
MODEL = paths.catalog() / "smoke.gguf"


def wait_for(what: str, test: Callable[[], object], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds} s"
        time.sleep(0.3)


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
    in_the_way = f"{lab.home(canary)}/dream-runner"
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
def test_kill_of_the_controller_then_the_next_run_goes_on(lab: Lab) -> None:
    content = MODEL.read_bytes()
    with Origin(content) as origin:
        lab.write_inventory(
            dream_model=origin.url, dream_model_sha256=hashlib.sha256(content).hexdigest()
        )
        words = ("--yes", "--canary", "0", "--waves", "100%")
        with lab.started("install", *words) as running:
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
        done = lab.run("install", *words, "--json")
        assert done.code == 0, str(done)
        assert set(done.states().values()) <= {"done", "unchanged"}
        # Nobody but this machine can reach the origin, and it was asked once.
        assert origin.sent == len(content)


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
        there = lab.nodes[name].run("test", "-e", f"{lab.home(name)}/dream-runner", user="root")
        assert there.code == 1
