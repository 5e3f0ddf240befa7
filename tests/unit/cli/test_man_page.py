"""The committed man page is the one that the commands make."""

import os
import runpy
import shutil
import subprocess

import pytest

from dream_runner import paths

SCRIPT = runpy.run_path(str(paths.PACKAGE.parent / "scripts" / "make_man_page.py"))


def test_it_is_current() -> None:
    assert SCRIPT["PAGE"].read_text() == SCRIPT["page"](), "python scripts/make_man_page.py"


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_has_nothing_to_say_against_it() -> None:
    argv = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(SCRIPT["PAGE"])]
    # A locale of the desk that this machine lacks would be a warning of its own.
    ended = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    assert ended.stderr == ""
