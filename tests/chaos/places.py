"""Disks, networks and clocks of a case: made for it, gone with it, found again after a kill -9."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nodes import processes

#: Every directory, namespace and link of these tests carries this and the pid of its session.
PREFIX = "dream-chaos-"
_CLONE_NEWNET = 0x40000000


def need(*programs: str, root: bool = False) -> None:
    """Skip the case where a program or the rights of root are missing; in CI that fails."""
    lacking = [name for name in programs if shutil.which(name, path=_path()) is None]
    lacking += ["root"] if root and os.geteuid() else []
    if lacking and os.environ.get("CI"):
        pytest.fail(f"cannot run in CI: needs {', '.join(lacking)}")
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}")


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def run(*argv: str) -> str:
    return subprocess.run(
        argv, check=True, capture_output=True, text=True, env={**os.environ, "PATH": _path()}
    ).stdout


def sweep() -> None:
    """Remove processes, mounts, namespaces and folders of sessions that were killed."""
    folders = [
        item for item in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_abandoned(item.name)
    ]
    for folder in folders:
        processes.kill_all(folder / "home")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    for place in reversed([line.split()[1] for line in mounts]):
        if _is_abandoned(place):
            subprocess.run(["umount", "--lazy", place], check=False)
    if os.geteuid() == 0 and Path("/run/netns").is_dir():
        for item in Path("/run/netns").iterdir():
            if _is_abandoned(item.name):
                subprocess.run(["ip", "netns", "del", item.name], check=False)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(name: str) -> bool:
    _, mark, rest = name.partition(PREFIX)
    pid = rest.split("-")[0].split("/")[0]
    return bool(mark) and pid.isdigit() and not psutil.pid_exists(int(pid))


def unmount(place: Path) -> None:
    """Unmount ``place``; the kernel needs a moment to let go of what a killed process held."""
    deadline = time.monotonic() + 10
    while subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            run("umount", str(place))
        time.sleep(0.1)


@contextlib.contextmanager
def disk(image: Path, place: Path, megabytes: int = 1400) -> Iterator[None]:
    """Mount a new ext4 filesystem of its own on ``place``."""
    need("mkfs.ext4", "mount", "umount", root=True)
    image.unlink(missing_ok=True)
    with image.open("wb") as stream:
        stream.truncate(megabytes * 1024 * 1024)
    run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,root_owner=0:0", str(image))
    with mounted(image, place):
        (place / "lost+found").rmdir()
        yield
    image.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    """Mount the image so that nothing reaches it but what somebody synced.

    The journal commits only when asked to, and a file that replaces another is
    not written out on its own account (ext4 usually does, for careless programs).
    """
    run("mount", "-o", "loop,commit=900,noauto_da_alloc", str(image), str(place))
    try:
        yield
    finally:
        # What still runs there would keep it.
        processes.kill_all(place)
        unmount(place)


@contextlib.contextmanager
def memory(place: Path, kilobytes: int) -> Iterator[None]:
    """Mount a small tmpfs on ``place``."""
    need("mount", "umount", root=True)
    run("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "tmpfs", str(place))
    try:
        yield
    finally:
        unmount(place)


def fill(directory: Path, leave_bytes: int) -> Path:
    """Take all space but ``leave_bytes``; return the file to remove to get it back."""
    ballast = directory / "ballast"
    status = os.statvfs(directory)
    size = max(0, status.f_bavail * status.f_frsize - leave_bytes)
    with ballast.open("wb") as stream, contextlib.suppress(OSError):
        os.posix_fallocate(stream.fileno(), 0, size)
    return ballast


class Network:
    """A server's network, one cable away: the far end is a namespace of its own."""

    host = "10.213.7.2"

    def __init__(self) -> None:
        need("ip", root=True)
        self.name = f"{PREFIX}{os.getpid()}"
        # A link's name has 15 characters.
        self.link = f"dc{os.getpid()}"

    def __enter__(self) -> Network:
        run("ip", "netns", "add", self.name)
        near, far = self.link, "far"
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        run("ip", "addr", "add", "10.213.7.1/24", "dev", near)
        run("ip", "link", "set", near, "up")
        for words in (("addr", "add", f"{self.host}/24", "dev", far), ("link", "set", far, "up")):
            run("ip", "-n", self.name, *words)
        return self

    def __exit__(self, *_: object) -> None:
        # The pair of links goes with the namespace, but not before its last socket.
        subprocess.run(["ip", "link", "del", self.link], check=False)
        run("ip", "netns", "del", self.name)

    def cut(self) -> None:
        run("ip", "link", "set", self.link, "down")

    def restore(self) -> None:
        run("ip", "link", "set", self.link, "up")

    def listen(self) -> socket.socket:
        """Return a socket that listens inside; only the thread that makes it goes there."""
        made: list[socket.socket] = []

        def inside() -> None:
            with open(f"/run/netns/{self.name}") as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), _CLONE_NEWNET):
                    return
            made.append(socket.create_server((self.host, 0)))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return made[0]


_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* Adds the seconds in the file CHAOS_CLOCK to the time of day; the file may change at any time. */
static const long *offset;
__attribute__((constructor)) static void start(void) {
    const char *name = getenv("CHAOS_CLOCK");
    int handle = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (handle < 0) return;
    void *found = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, handle, 0);
    if (found != MAP_FAILED) offset = found;
    close(handle);
}
static long more(void) { return offset ? *offset : 0; }
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += more();
    return failed;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(now, zone);
    if (!failed) now->tv_sec += more();
    return failed;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """A time of day that jumps, for the programs that have ``environment``."""

    def __init__(self, directory: Path) -> None:
        need("gcc")
        source, self._library = directory / "clock.c", directory / "clock.so"
        source.write_text(_CLOCK)
        run("gcc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl")
        self._file = directory / "clock"
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Jump; running programs see it at once, since the file stays the same one."""
        with open(self._file, "r+b" if self._file.exists() else "w+b") as stream:
            stream.write(seconds.to_bytes(8, "little", signed=True))
