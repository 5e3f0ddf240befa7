"""Whole installs where the world around them is odd: no file locks, a foreign locale."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from .here import Here, here

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc"),
]

#: Refuses flock below TEST_BELOW, as Lustre, CIFS and FUSE do.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int flock(int handle, int operation) {
    static int (*real)(int, int);
    char name[64], path[4096] = {0};
    const char *below = getenv("TEST_BELOW"), *number = getenv("TEST_ERRNO");
    if (!real) real = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    snprintf(name, sizeof name, "/proc/self/fd/%d", handle);
    if (readlink(name, path, sizeof path - 1) > 0 && below && number
            && !strncmp(path, below, strlen(below))) {
        errno = atoi(number);
        return -1;
    }
    return real(handle, operation);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, folder / "shim.c", "-ldl"], check=True
    )
    return library


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    return place


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_home_without_file_locks(home: Path, shim: Path, number: int) -> None:
    odd = {"LD_PRELOAD": str(shim), "TEST_BELOW": str(home), "TEST_ERRNO": str(number)}
    with here(home, environment={**odd, "TMPDIR": "/tmp"}) as place:
        done = place.install("--model", "smoke")
        assert done.code == 0, str(done)
        assert done.err.count("this filesystem does not support file locks") == 1
        assert install_rests(place)


@pytest.mark.parametrize("name", ["en_US.UTF-8", "de_DE.ISO-8859-1"])
def test_a_locale_that_is_not_there(home: Path, name: str) -> None:
    with here(home, environment={"LANG": name, "LC_ALL": name}) as place:
        done = place.install("--model", "smoke")
        assert done.code == 0, str(done)
        assert install_rests(place)
        gone = place.run("uninstall", "--purge", "--yes")
        assert gone.code == 0, str(gone)


def install_rests(place: Here) -> bool:
    return place.install("--full").json()["tasks"]["changed"] == 0
