"""The whole wrapper from the command line, with a small playbook in place of the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest

from dream_runner.module_utils.dream_core.phases import PHASES
from tests.fixtures import deaf

#: Runs the command line on a playbook of the test's own.
PROGRAM = """
import os, sys
from pathlib import Path
from dream_runner import paths
playbook = Path(os.environ["TEST_PLAYBOOK"])
paths.playbook = lambda verb: playbook
from dream_runner.cli.app import main
sys.exit(main())
"""
PLAY = """
- name: {phase}
  hosts: all
  gather_facts: false
  connection: local
  vars:
    ansible_python_interpreter: {python}
  roles: [{phase}]
"""
ROLE = """
- name: Begin
  dream_phase: {{phase: {phase}, state: running, resources: []}}
{tasks}
- name: End
  dream_phase: {{phase: {phase}, state: done, facts: {{}}}}
"""
TOUCH = """
- name: Make a file
  ansible.builtin.copy:
    content: made
    dest: "{{ dream_install_dir }}/made"
    mode: "0600"
"""
FAIL = """
- name: Fail
  ansible.builtin.fail:
    msg: No space left on device
"""
SLEEP = """
- name: Sleep
  ansible.builtin.command: sleep 60
"""


@dataclass
class Machine:
    """A HOME of its own with a playbook; ``tasks`` are added to a phase by name."""

    home: Path
    tasks: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.home / ".local" / "state" / "dream-runner"

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DREAM_", "XDG_", "ANSIBLE_"))
        }
        playbook = self.home.parent / "playbooks" / "site.yml"
        return {**kept, "HOME": str(self.home), "TEST_PLAYBOOK": str(playbook), "TERM": "xterm"}

    def write_playbook(self) -> None:
        root = self.home.parent / "playbooks"
        plays = ""
        for phase in ("preflight", "directories", "models", "services", "summary"):
            role = root / "roles" / phase / "tasks" / "main.yml"
            role.parent.mkdir(parents=True, exist_ok=True)
            role.write_text(ROLE.format(phase=phase, tasks=self.tasks.get(phase, "")))
            plays += PLAY.format(phase=phase, python=sys.executable)
        (root / "site.yml").write_text(plays)

    def command(self, *words: str) -> list[str]:
        self.write_playbook()
        return [sys.executable, "-B", "-c", PROGRAM, *words]

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run without a terminal."""
        return subprocess.run(
            self.command(*words),
            env=self.environment | more,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def install(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("install", "--profile", "native", "--model", "smoke", *words)

    def type(self, *words: str) -> Any:
        """Run on a terminal that is wide enough to fold no line here."""
        first, *rest = self.command(*words)
        return pexpect.spawn(
            first, rest, env=self.environment, encoding="utf-8", timeout=30, dimensions=(40, 400)
        )

    def receipt(self, phase: str, /, **changes: Any) -> None:
        """Change or make the receipt of a phase."""
        path = self.state / "receipts" / f"{phase}.json"
        document = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(document | changes))

    def finish(self) -> None:
        """Make receipts for the phases that the small playbook leaves out."""
        done = json.loads((self.state / "receipts" / "preflight.json").read_text())
        for phase in PHASES:
            if not (self.state / "receipts" / f"{phase}.json").exists():
                self.receipt(phase, **(done | {"phase": phase}))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    (home / "ai-server").mkdir(parents=True)
    return Machine(home)


def listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in root.rglob("*")}


def test_install_runs_saves_and_changes_nothing_the_second_time(machine: Machine) -> None:
    machine.tasks["directories"] = TOUCH
    done = machine.install("--tier", "1", "--json")
    assert done.returncode == 0, done
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], outcome["tasks"]["changed"]) == ("done", 1)
    assert Path(outcome["log"]).exists()
    saved = json.loads((machine.state / "settings.json").read_text())
    assert saved["values"] == {"profile": "native", "model": "smoke", "tier": "1"}
    machine.finish()
    again = machine.run("install", "--json")  # no flags: the choices are kept
    assert json.loads(again.stdout)["tasks"]["changed"] == 0
    kept = json.loads((machine.state / "settings.json").read_text())
    # No directory was chosen: it is read from the record of the installation.
    assert kept["values"] == saved["values"]


def test_a_person_reads_phases_and_the_end(machine: Machine) -> None:
    done = machine.install()
    assert "ok: 5 checks passed\n" in done.stderr
    assert done.stdout.startswith("Done: ")
    assert "\nReady in " in done.stdout


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("full", ["--json"]),
        ("closed", ["--ui", "plain"]),
        ("reader gone", ["--ui", "json"]),
        ("terminal gone", ["--ui", "rich"]),
    ],
)
def test_output_that_does_not_arrive_changes_no_result(
    machine: Machine, kind: str, options: list[str]
) -> None:
    words = ["install", "--yes", "--profile", "native", "--model", "smoke", *options]
    assert deaf.run(kind, machine.command(*words), machine.environment) == 0
    assert json.loads((machine.state / "receipts" / "summary.json").read_text())["state"] == "done"
    machine.tasks["models"] = FAIL
    assert deaf.run(kind, machine.command(*words), machine.environment) == 6


@pytest.mark.parametrize("option", [["--ui", "json"], ["--ui=json"]])
def test_events_as_json_lines_end_with_the_result(machine: Machine, option: list[str]) -> None:
    lines = [json.loads(line) for line in machine.install(*option).stdout.splitlines()]
    kinds = [line["type"] for line in lines]
    assert {"phase_started", "phase_finished", "task_finished", "run_finished"} <= set(kinds)
    assert (kinds[-1], lines[-1]["outcome"]) == ("result", "done")
    refused = [
        json.loads(line) for line in machine.install(*option, "--tier", "x").stdout.splitlines()
    ]
    assert [line["type"] for line in refused] == ["result"]
    assert refused[0]["exit_code"] == 2


def test_failure_has_code_place_hint_and_log(machine: Machine) -> None:
    machine.tasks["models"] = FAIL
    done = machine.install()
    assert done.returncode == 6
    error = done.stderr[done.stderr.index("error[") :]
    assert error.startswith("error[DISK_FULL]: No space left on device")
    assert "  where: phase models, task " in error
    assert "  hint: " in error
    assert "  log: " in error
    assert "Traceback" not in done.stderr
    failed = json.loads(machine.install("--json").stdout)
    assert failed["outcome"] == "failed"
    assert failed["error"]["code"] == "DISK_FULL"
    assert failed["exit_code"] == 6


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["--colour"], "USAGE", ["--colour", "dream-runner install --help"]),
        (["--tier", "x", "--engine-port", "x"], "SETTINGS_INVALID", ["--tier:", "--engine-port:"]),
        (["--lan", "--bind-address", "::1"], "USAGE", ["--lan and --bind-address"]),
        (["--resume", "--fresh"], "USAGE", ["--resume cannot be combined"]),
        (["--ui", "fancy"], "USAGE", ["fancy"]),
        (["--answers", "/no/such.yml"], "SETTINGS_INVALID", ["/no/such.yml: No such file"]),
    ],
)
def test_usage_errors_change_nothing(
    machine: Machine, words: list[str], code: str, parts: list[str]
) -> None:
    before = listing(machine.home)
    done = machine.install(*words)
    assert done.returncode == 2
    said = done.stderr.removeprefix("Checking this machine ...\n")
    assert said.startswith(f"error[{code}]: ")
    assert all(part in done.stderr for part in parts), done.stderr
    assert listing(machine.home) == before
    described = json.loads(machine.install(*words, "--json").stdout)
    assert described["error"]["code"] == code


@pytest.mark.parametrize("verb", ["plan", "install"])
def test_looking_writes_nothing(machine: Machine, verb: str) -> None:
    words = [
        verb,
        "--profile",
        "native",
        "--model",
        "smoke",
        "--json",
        *(["--dry-run"] if verb == "install" else []),
    ]
    before = listing(machine.home.parent)
    done = machine.run(*words)
    machine.write_playbook()
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["changes_pending"] is True
    new = listing(machine.home)
    assert {name: before[name] for name in new} == new


def test_looking_after_an_install_writes_nothing(machine: Machine) -> None:
    machine.install()
    machine.finish()
    before = listing(machine.home)
    for words in (["plan"], ["install", "--dry-run", "--fresh"], ["status"], ["doctor"], ["facts"]):
        machine.run(*words)
    assert listing(machine.home) == before


def test_plan_exit_code_says_whether_something_is_pending(machine: Machine) -> None:
    words = ["plan", "--profile", "native", "--model", "smoke", "--exit-code"]
    assert machine.run(*words).returncode == 20
    assert machine.run(*words[:-1]).returncode == 0


def test_a_second_run_is_refused_by_name(machine: Machine) -> None:
    machine.tasks["models"] = SLEEP
    first = machine.type(
        "install", "--profile", "native", "--model", "smoke", "--yes", "--ui", "plain", "-v"
    )
    first.expect_exact("[ 6/14] directories")
    second = machine.install("--json")
    assert second.returncode == 12
    assert json.loads(second.stdout)["error"]["code"] == "ANOTHER_RUN"
    assert f"pid {first.pid}" in second.stderr
    first.sendintr()
    first.expect(pexpect.EOF)
    first.close()


def test_ctrl_c_ends_soon_leaves_nothing_and_can_be_continued(machine: Machine) -> None:
    machine.tasks["models"] = SLEEP
    child = machine.type(
        "install", "--profile", "native", "--model", "smoke", "--yes", "--ui", "plain", "-v"
    )
    child.expect_exact("[ 6/14] directories")
    time.sleep(1)
    began = time.monotonic()
    child.sendintr()
    child.expect_exact("Stopping")
    assert time.monotonic() - began < 1
    child.expect(pexpect.EOF)
    child.close()
    assert time.monotonic() - began < 5
    assert child.exitstatus == 130
    assert strangers(machine) == []
    assert json.loads(machine.run("status", "--json").stdout)["state"] == "interrupted"
    machine.tasks.clear()
    again = machine.install("--resume")
    assert again.returncode == 0
    assert "Continuing." in again.stderr


def strangers(machine: Machine) -> list[list[str]]:
    """Return the command lines of processes that belong to this HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(machine.home):
                found.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def test_killed_run_is_followed_by_one_that_waits_for_the_rest(machine: Machine) -> None:
    machine.tasks["models"] = SLEEP
    process = subprocess.Popen(
        machine.command("install", "--profile", "native", "--model", "smoke"),
        env=machine.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: (machine.state / "receipts" / "models.json").exists())
    process.send_signal(signal.SIGKILL)
    process.wait()
    machine.tasks.clear()
    done = machine.install("--resume")
    assert done.returncode == 0, done
    assert strangers(machine) == []


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def stopped(machine: Machine) -> Machine:
    """A machine whose install stopped in the models phase."""
    machine.install()
    machine.finish()
    machine.receipt("models", state="running")
    return machine


def test_resume_is_offered_on_the_terminal(stopped: Machine) -> None:
    child = stopped.type("install")
    child.expect_exact("stopped in phase 11 of 14 (models)")
    child.expect_exact("Continue? [Y/n/explain] ")
    child.sendline("explain")
    child.expect_exact("Finished downloads, secrets")
    child.expect_exact("Continue? [Y/n/explain] ")
    child.sendline("y")
    child.expect_exact("Ready in")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_without_a_terminal_it_begins_anew_and_says_so(stopped: Machine) -> None:
    done = stopped.install()
    assert done.returncode == 0
    assert "stopped in phase 11 of 14 (models)" in done.stderr
    assert "Starting over" in done.stderr


def test_the_plan_is_shown_and_no_means_no(machine: Machine) -> None:
    child = machine.type("install", "--profile", "native", "--model", "smoke")
    child.expect_exact("14 steps to run")
    child.expect_exact("Go ahead? [Y/n/explain/webui] ")
    child.sendline("e")
    child.expect_exact("Choices:")
    child.expect_exact("Go ahead? [Y/n/explain/webui] ")
    child.sendline("n")
    child.expect_exact("error[DECLINED]: cancelled; nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert not (machine.state / "settings.json").exists()


def test_ctrl_c_at_the_question(machine: Machine) -> None:
    child = machine.type("install", "--profile", "native", "--model", "smoke")
    child.expect_exact("Go ahead? [Y/n/explain/webui] ")
    child.sendintr()
    child.expect_exact("error[INTERRUPTED]")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_a_second_directory_is_refused_unless_forced(stopped: Machine) -> None:
    stopped.receipt("models", state="done")
    other = str(stopped.home / "other")
    done = stopped.install("--install-dir", other)
    assert done.returncode == 2
    assert "error[INSTALLED_ELSEWHERE]" in done.stderr
    assert stopped.install("--install-dir", other, "--force").returncode == 0


def test_unexpected_errors_are_one_line_without_traceback(machine: Machine) -> None:
    program = textwrap.dedent(
        """
        import sys
        from dream_runner.machine import target
        def explode(*_, **__): raise RuntimeError("first line\\nsecond line")
        target.read_settings = explode
        from dream_runner.cli.app import main
        sys.exit(main())
        """
    )
    for words, traceback in ((["plan"], False), (["plan", "--debug"], True)):
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            env=machine.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert "error[UNEXPECTED]: unexpected RuntimeError: first line\n" in done.stderr
        assert ("Traceback" in done.stderr) is traceback


def test_a_closed_pipe_is_no_error(machine: Machine) -> None:
    words = " ".join(
        f"'{word}'" for word in machine.command("plan", "--profile", "native", "--model", "smoke")
    )
    script = f"set -o pipefail; {words} | true; exit $?"
    done = subprocess.run(
        ["bash", "-c", script],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["install", "--help"], ["plan", "-h"]])
def test_help_is_helpful(machine: Machine, words: list[str]) -> None:
    done = machine.run(*words)
    assert done.returncode == 0
    assert "Usage: dream-runner" in done.stdout
    assert "For example:" in done.stdout or "plan" in words


def test_version_loads_nothing_slow(machine: Machine) -> None:
    done = machine.run("--version", PYTHONPROFILEIMPORTTIME="1")
    assert done.stdout.startswith("dream-runner ")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "dream_runner.cli.app" in loaded
    assert not loaded & {"ansible", "ansible_runner", "jinja2", "requests", "rich", "yaml"}


GONE = """
- name: Remove what the wrapper writes to
  # Raw: the payload of a module would lie in what is removed.
  ansible.builtin.raw: "rm -rf {{ (%s) | quote }}"
"""


@pytest.mark.parametrize("what", ["dream_state_dir", "dream_state_dir ~ '/runs'"])
def test_state_that_vanishes_during_a_run_does_not_end_it(machine: Machine, what: str) -> None:
    machine.tasks["directories"] = GONE % what
    done = machine.install("--json")
    said = done.stdout + done.stderr
    assert "UNEXPECTED" not in said, said
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["outcome"]) == (0, "done"), said
