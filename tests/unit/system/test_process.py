"""Children end with their parent; what a dead run left is found by what it runs."""

import os
import signal
import subprocess
import sys
import time

from dream_runner.module_utils.dream_core.system import process, processes

PARENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from dream_runner.module_utils.dream_core.system.process import run_child
run_child([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
          environment={}, directory="/", on_line=lambda line: print(line, flush=True))
"""


def test_output_and_status() -> None:
    lines: list[str] = []
    done = process.run_child(
        ["/bin/sh", "-c", "echo one; echo two >&2; exit 3"],
        environment={},
        directory="/",
        on_line=lines.append,
    )
    assert (done.status, done.output, lines) == (3, "one\ntwo", ["one", "two"])


def test_the_kernel_ends_it_with_a_killed_parent() -> None:
    argv = [sys.executable, "-c", PARENT, os.getcwd()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert processes.is_alive(child)
        parent.send_signal(signal.SIGKILL)
    processes.await_end([child], 5)
    assert not processes.is_alive(child)


def test_one_that_ignores_sigterm_is_killed() -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        assert processes.command_lines()[stubborn.pid][0] == "/bin/sh"
        start = time.monotonic()
        assert processes.end_processes([stubborn.pid], grace_seconds=0.3) == []
        assert 0.2 < time.monotonic() - start < 4


def test_nobody_is_not_alive() -> None:
    assert not processes.is_alive(2**22 + 1)


DETACHED = """
import gc, os, sys
from dream_runner.module_utils.dream_core.system import process
with open(os.devnull, "wb") as output:
    process.start_detached(sys.argv[1:], environment={}, directory="/", output=output)
print(process._DETACHED[0].pid)
gc.collect()
"""


def test_what_is_started_to_stay_outlives_its_starter_without_a_word() -> None:
    """Neither the collector nor the end of the interpreter calls it left running (FC2-18)."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DETACHED, "/bin/sleep", "60"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pid = int(done.stdout)
    try:
        assert (done.returncode, done.stderr) == (0, "")
        assert processes.is_alive(pid)
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGKILL)
