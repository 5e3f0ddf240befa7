"""Wait for the real application."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
from pathlib import Path

#: Its first start compiles what it imports and creates its database.
START_SECONDS = 300


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until ``url`` answers; fail with the end of the log."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.5)
