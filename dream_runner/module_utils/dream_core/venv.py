"""A virtual environment that holds exactly what a hash-pinned list says.

Whether it does is read from the files themselves: every file of every pinned
package against the digest that its wheel recorded. One that does not is made
anew; pip's cache beside it saves a killed run from fetching again.
"""

from __future__ import annotations

import base64
import csv
import glob
import hashlib
import os
import re
import shutil
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from .errors import (
    DiskError,
    DreamError,
    EngineError,
    IntegrityError,
    NetworkError,
    RequirementError,
    UsageError,
)
from .process import Finished, run_child

#: cp310-abi3: the oldest Python the engine's wheel runs on.
MINIMUM_PYTHON = (3, 10)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.+!-]+)")

Report = Callable[[str], None]


class Outcome(NamedTuple):
    """Whether the environment was made anew, and why."""

    changed: bool
    why: str


def pins(requirements: str) -> Dict[str, str]:
    """Return ``{name: version}`` of a pip requirements text. Raises UsageError without one."""
    found = dict(m.groups() for m in map(_PIN.match, requirements.splitlines()) if m)
    if not found:
        raise UsageError(
            "the list of packages pins nothing",
            code="REQUIREMENTS_EMPTY",
            hint="name each package as NAME==VERSION with its --hash",
        )
    return found


def defect(path: str, requirements: str) -> str:
    """Return why ``path`` is not the wanted environment; empty when it is."""
    if not os.path.lexists(path):
        return "there is none"
    python = os.path.join(path, "bin", "python")
    if not os.access(python, os.X_OK):
        return "its Python is gone"
    places = glob.glob(os.path.join(glob.escape(path), "lib", "python3*", "site-packages"))
    if len(places) != 1:
        return "it has no site-packages"
    for name, version in pins(requirements).items():
        why = _package_defect(places[0], name, version)
        if why:
            return why
    return ""


def _package_defect(site: str, name: str, version: str) -> str:
    stem = re.sub(r"[-_.]+", "_", name).lower()
    folder = os.path.join(site, "%s-%s.dist-info" % (stem, version))
    try:
        with open(os.path.join(folder, "RECORD"), encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error):
        return "%s %s is not installed" % (name, version)
    for row in rows:
        if len(row) != 3 or not _as_recorded(os.path.join(site, row[0]), row[1]):
            return "%s: %s is not as its package shipped it" % (name, row[0] if row else "RECORD")
    return ""


def _as_recorded(path: str, recorded: str) -> bool:
    """Compare a file with its RECORD entry; one without a digest (byte code) may be missing."""
    if not recorded:
        return True
    kind, _, value = recorded.partition("=")
    try:
        digest = hashlib.new(kind)
        with open(path, "rb") as handle:
            for block in iter(lambda: handle.read(1024 * 1024), b""):
                digest.update(block)
    except (OSError, ValueError):
        return False
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") == value


def ensure(
    path: str,
    requirements_file: str,
    *,
    pythons: Sequence[str],
    environment: Mapping[str, str],
    report: Report,
    find_links: str = "",
    write: bool = True,
) -> Outcome:
    """Make ``path`` the environment that ``requirements_file`` pins.

    ``pythons`` are tried in order; the first that can make environments is
    taken. With ``find_links`` (a directory of wheels) no network is used.
    Raises DreamError by the class of what went wrong.
    """
    requirements = _read(requirements_file)
    why = defect(path, requirements)
    if not why or not write:
        return Outcome(bool(why), why)
    _refuse_foreign(path)
    work = _Workspace(path)
    work.open()
    python = choose_python(pythons, work.environment(environment))
    shutil.rmtree(path, ignore_errors=True)
    report("making the environment")
    _run([python, "-m", "venv", path], work, environment, report)
    _run(_pip(path, requirements_file, find_links), work, environment, report)
    still = defect(path, requirements)
    if still:
        raise IntegrityError(
            "the new environment is wrong: %s" % still,
            code="VENV_BROKEN",
            where=path,
            hint="check the disk, then run again",
        )
    work.close()
    return Outcome(True, why)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the list of packages cannot be read: %s" % error,
            code="REQUIREMENTS_UNREADABLE",
            where=path,
            hint="give the path of a pip requirements file",
        ) from error


def _refuse_foreign(path: str) -> None:
    """Never delete a folder that is not an environment."""
    is_ours = not os.path.lexists(path) or (
        os.path.isdir(path)
        and not os.path.islink(path)
        and (os.path.exists(os.path.join(path, "pyvenv.cfg")) or not os.listdir(path))
    )
    # Killed before pyvenv.cfg was written: venv makes these folders first.
    if not is_ours and os.path.isdir(path) and not os.path.islink(path):
        is_ours = set(os.listdir(path)) <= {"bin", "include", "lib", "lib64", "share"}
    if not is_ours:
        raise UsageError(
            "%s is there and is no virtual environment" % path,
            code="VENV_FOREIGN",
            where=path,
            hint="move it away, or choose another install directory",
        )


class _Workspace:
    """pip's cache and temporary files, beside the environment: kept by a kill, gone after success."""

    def __init__(self, path: str) -> None:
        self.directory = os.path.dirname(path)
        self._cache = os.path.join(self.directory, ".pip-cache")
        self._temporary = os.path.join(self.directory, ".pip-tmp")

    def open(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        for path in (self._cache, self._temporary):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def close(self) -> None:
        for path in (self._cache, self._temporary):
            shutil.rmtree(path, ignore_errors=True)

    def environment(self, given: Mapping[str, str]) -> Dict[str, str]:
        """Return the caller's environment less what would point Python elsewhere."""
        kept = {
            name: value
            for name, value in given.items()
            if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "PIP_TARGET")
        }
        return dict(kept, PIP_CACHE_DIR=self._cache, TMPDIR=self._temporary, LC_ALL="C.UTF-8")


def choose_python(pythons: Sequence[str], environment: Dict[str, str]) -> str:
    """Return the first Python that is new enough and can make environments.

    Raises RequirementError PYTHON_VENV_MISSING.
    """
    test = "import sys, ensurepip; sys.exit(sys.version_info < %r)" % (MINIMUM_PYTHON,)
    for python in pythons:
        if os.access(python, os.X_OK):
            done = run_child([python, "-I", "-c", test], environment=environment, directory="/")
            if done.status == 0:
                return python
    raise RequirementError(
        "no Python here is %d.%d or newer and can make virtual environments" % MINIMUM_PYTHON,
        code="PYTHON_VENV_MISSING",
        where=", ".join(pythons),
        hint="install it: apt-get install python3-venv (Debian and Ubuntu)",
    )


def _pip(path: str, requirements_file: str, find_links: str) -> List[str]:
    command = [os.path.join(path, "bin", "python"), "-I", "-m", "pip", "install"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    if find_links:
        command += ["--no-index", "--find-links", find_links]
    return [*command, "--requirement", requirements_file]


def _run(
    argv: Sequence[str], work: _Workspace, environment: Mapping[str, str], report: Report
) -> None:
    done = run_child(
        argv,
        environment=work.environment(environment),
        directory=work.directory,
        on_line=report,
    )
    if done.status != 0:
        raise _failure(done, work.directory)


_FAILURES: Tuple[Tuple[str, Type[DreamError], str, str], ...] = (
    ("No space left", DiskError, "DISK_FULL", "free some space, then run again"),
    (
        "DO NOT MATCH THE HASHES",
        IntegrityError,
        "DIGEST_MISMATCH",
        "the package source delivers other bytes than were pinned; check the mirror or proxy",
    ),
    (
        "name resolution|Failed to establish|Connection|ProxyError|SSLError|timed out|Retrying",
        NetworkError,
        "NETWORK_FAILED",
        "check the connection, the proxy and PIP_* settings, then run again",
    ),
    (
        "No matching distribution|Could not find a version",
        RequirementError,
        "NO_WHEEL",
        "there is no ready-made engine for this processor or C library",
    ),
    ("ensurepip", RequirementError, "PYTHON_VENV_MISSING", "install python3-venv, then run again"),
)


def _failure(done: Finished, where: str) -> DreamError:
    """Return what pip's or venv's output means."""
    last: Optional[str] = next((x for x in reversed(done.output.splitlines()) if x.strip()), None)
    what = "the engine's packages were not installed: %s" % (last or "no output")
    for pattern, cls, code, hint in _FAILURES:
        if re.search(pattern, done.output):
            return cls(what, code=code, where=where, hint=hint)
    return EngineError(
        what, code="VENV_FAILED", where=where, hint="log.txt of this run has the whole output"
    )
