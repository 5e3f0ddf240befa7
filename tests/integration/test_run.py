"""The wrapper's run: events as they happen, signals that leave nothing, secrets that stay."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dream_runner import paths
from dream_runner.run import ansible, events
from dream_runner.run.processes import stopper
from dream_runner.run.request import Reach, Request, new_run_id

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

PLAYBOOK = """
- name: Test
  hosts: all
  gather_facts: false
  tasks:
"""


def write_playbook(path: Path, tasks: str) -> None:
    path.write_text(PLAYBOOK + textwrap.indent(textwrap.dedent(tasks), "    "))


@pytest.fixture
def request_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    playbook = tmp_path / "playbook.yml"
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)

    def make(tasks: str, **more: Any) -> Request:
        write_playbook(playbook, tasks)
        run_id = new_run_id()
        return Request(
            playbook="install",
            variables=LOCAL | more.pop("variables", {}),
            run_id=run_id,
            run_dir=tmp_path / "runs" / run_id,
            **more,
        )

    return make


def test_events_arrive_in_order_and_counts_are_ansibles(request_for: Any) -> None:
    seen: list[events.Event] = []
    request = request_for(
        """
        - name: Change
          ansible.builtin.command: "true"
          changed_when: true
        - name: Skip
          ansible.builtin.debug: {}
          when: false
        """
    )
    result = ansible.execute(request, seen.append)
    assert (result.rc, result.ok, result.changed, result.skipped) == (0, 1, 1, 1)
    assert result.error is None
    statuses = [e.status for e in seen if isinstance(e, events.TaskFinished)]
    assert statuses == ["changed", "skipped"]
    assert isinstance(seen[-1], events.RunFinished)


def test_events_are_live(request_for: Any) -> None:
    arrived: list[float] = []
    request = request_for(
        """
        - name: First
          ansible.builtin.debug: {}
        - name: Second
          ansible.builtin.command: sleep 2
          changed_when: false
        """
    )
    ansible.execute(
        request,
        lambda e: arrived.append(time.time()) if isinstance(e, events.TaskFinished) else None,
    )
    assert arrived[1] - arrived[0] > 1.5


def test_a_failure_is_one_error_with_its_place(request_for: Any) -> None:
    request = request_for(
        """
        - name: Fail here
          ansible.builtin.fail: {msg: "No space left on device"}
        """
    )
    result = ansible.execute(request, lambda _: None)
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("DISK_FULL", 6)
    assert "Fail here" in result.error.where


def test_nothing_is_copied_into_the_home_directory(
    request_for: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    request = request_for(
        f"""
        - name: Make Ansible copy something
          ansible.builtin.copy: {{content: x, dest: "{tmp_path}/copied", mode: "0600"}}
        """
    )
    assert ansible.execute(request, lambda _: None).rc == 0
    assert list(home.rglob("*")) == []


def test_a_failed_loop_says_what_its_item_said(request_for: Any) -> None:
    request = request_for(
        """
        - name: Fail in the middle
          ansible.builtin.fail: {msg: "Read-only file system"}
          loop: [1, 2]
          when: item == 2
        """
    )
    result = ansible.execute(request, lambda _: None)
    assert result.error is not None
    assert result.error.code == "READ_ONLY"


def test_only_the_log_is_left_and_it_is_private(request_for: Any) -> None:
    request = request_for("- ansible.builtin.debug: {}\n")
    ansible.execute(request, lambda _: None)
    assert [item.name for item in request.run_dir.iterdir()] == ["log.txt"]
    assert (request.run_dir / "log.txt").stat().st_mode & 0o077 == 0


def test_secrets_reach_no_file_event_or_argument(
    request_for: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-token")
    seen: list[str] = []
    request = request_for(
        f"""
        - name: Look around while it runs
          ansible.builtin.command:
            argv:
              - grep
              - -rlE
              - planted-(token|password)
              - {tmp_path}/runs
          register: found
          changed_when: false
          failed_when: found.rc != 1
        - name: Look at every command line
          ansible.builtin.shell: cat /proc/[0-9]*/cmdline | grep -c 'planted-[t]oken' || true
          register: argv
          changed_when: false
          failed_when: argv.stdout != '0'
        - name: The environment still has it
          ansible.builtin.command: test "{{{{ lookup('ansible.builtin.env', 'HF_TOKEN') }}}}"
          no_log: true
          changed_when: false
        """,
        become_password="planted-password",
    )
    result = ansible.execute(request, lambda e: seen.append(repr(e)))
    assert result.rc == 0, result.error
    assert "planted" not in repr(request) + "".join(seen)
    assert "planted-token" not in (request.run_dir / "log.txt").read_text()


def test_the_callers_ansible_settings_do_not_steer(
    request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", "no-such-strategy")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/nonexistent")
    assert ansible.execute(request_for("- ansible.builtin.debug: {}\n"), lambda _: None).rc == 0
    assert os.environ["ANSIBLE_STRATEGY"] == "no-such-strategy"


CHILD = """
import sys
from pathlib import Path
from dream_runner import paths
from dream_runner.run import ansible
paths.playbook = lambda verb: Path(sys.argv[1])
request = ansible.Request(
    playbook="install",
    variables={"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
    run_id=sys.argv[2],
    run_dir=Path(sys.argv[3]),
)
result = ansible.execute(request, lambda e: print(type(e).__name__, flush=True))
sys.exit(130 if result.interrupted else result.rc)
"""


@pytest.fixture
def wrapper(tmp_path: Path) -> Any:
    """Start a wrapper in its own process whose task waits, and give it with its run id."""
    playbook = tmp_path / "playbook.yml"
    write_playbook(
        playbook,
        """
        - name: Wait
          ansible.builtin.command: sleep 300
          changed_when: false
        """,
    )
    run_id = new_run_id()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(playbook), run_id, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(_runs_sleep(p) for p in _alive(run_id)):
        assert time.monotonic() < deadline, "the task never started"
        time.sleep(0.1)
    yield process, run_id
    for leftover in _alive(run_id):
        leftover.kill()
    process.kill()
    process.communicate()


def _alive(run_id: str) -> list[psutil.Process]:
    return [p for p in stopper.processes_of(run_id) if stopper.is_alive(p)]


def _runs_sleep(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "sleep" in process.cmdline()
    return False


def _gone_within(run_id: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _alive(run_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_and_says_so(wrapper: Any, number: signal.Signals) -> None:
    process, run_id = wrapper
    process.send_signal(number)
    assert process.wait(timeout=15) == 130
    assert _gone_within(run_id, 1)


def test_kill_of_the_wrapper_leaves_no_survivor(wrapper: Any) -> None:
    process, run_id = wrapper
    process.kill()
    process.wait()
    assert _gone_within(run_id, 10)


def test_kill_of_ansible_playbook_ends_the_run_as_failed(wrapper: Any) -> None:
    process, run_id = wrapper
    playbooks = [p for p in _alive(run_id) if "playbook" in p.cmdline()]
    oldest = min(playbooks, key=lambda p: p.create_time())
    oldest.kill()
    assert process.wait(timeout=60) not in (0, 130)
    assert _gone_within(run_id, 10), "a worker of a killed ansible-playbook went on"


def test_a_locale_that_this_machine_lacks_reaches_nobody(
    request_for: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.setenv(name, "xx_YY.ISO-8859-1")
    told = tmp_path / "told"
    request = request_for(
        f"""
        - name: Tell the locale, the scratch and the umask
          ansible.builtin.shell: 'echo "$LC_ALL $LANG $TMPDIR"; umask > {told}'
          register: said
          changed_when: false
        - name: Compare
          ansible.builtin.assert:
            that: said.stdout == 'C.UTF-8 C.UTF-8 ' ~ (ansible_home | dirname) ~ '/tmp'
          vars: {{ansible_home: "{{{{ lookup('env', 'ANSIBLE_HOME') }}}}"}}
        """
    )
    old = os.umask(0)
    try:
        result = ansible.execute(request, lambda _: None)
    finally:
        os.umask(old)
    assert result.error is None
    assert told.read_text().strip() == "0022"


def test_a_killed_modules_unpacked_copy_goes_with_the_run(request_for: Any, tmp_path: Path) -> None:
    told = tmp_path / "told"
    seen: list[bool] = []

    def look(event: events.Event) -> None:
        if isinstance(event, events.TaskFinished):
            seen.append((Path(told.read_text().strip()) / "ansible_x_payload_y").is_dir())

    request = request_for(
        f"""
        - name: Leave what a kill leaves
          ansible.builtin.shell: mkdir "$TMPDIR/ansible_x_payload_y" && echo "$TMPDIR" > {told}
          changed_when: false
        """
    )
    assert ansible.execute(request, look).error is None
    assert seen == [True]
    assert not Path(told.read_text().strip()).exists()
    assert list(request.run_dir.rglob("ansible_*")) == []


#: Each ends ansible-playbook before any task; with what it says itself.
NO_START = {
    "not YAML": ("- {", {}, "YAML parsing failed"),
    "no such role": ("- hosts: all\n  roles: [nowhere]\n", {}, "'nowhere' was not found"),
    "no such action": ("- hosts: all\n  tasks: [{no_such_action: {}}]\n", {}, "no_such_action"),
    "no such host": ("- hosts: all\n", {"limit": "nobody"}, "no hosts to target"),
    "no password file": ("- hosts: all\n", {"vault": "/nowhere"}, "/nowhere"),
}


@pytest.mark.parametrize("case", NO_START)
def test_how_ansible_ends_without_a_task_is_told(
    request_for: Any, tmp_path: Path, case: str
) -> None:
    text, more, words = NO_START[case]
    reach = None
    if more:
        files = (more["vault"],) if "vault" in more else ()
        reach = Reach(("localhost,",), more.get("limit", "all"), "", vault_password_files=files)
    request = request_for("", reach=reach)
    paths.playbook("install").write_text(text)
    error = ansible.execute(request, lambda _: None).error
    assert error is not None
    assert words in error.what
    assert error.code == "ANSIBLE_FAILED"
