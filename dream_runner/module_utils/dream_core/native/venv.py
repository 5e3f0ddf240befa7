"""Build a virtual environment with exactly the packages of a hash-pinned list.

An environment that differs (venv_check.py) is recreated; pip's cache beside it is kept after a
kill, so that nothing is downloaded twice.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ..errors import IntegrityError, RequirementError, UsageError
from ..files import text_file
from ..layout import former
from ..network import network_env
from ..system import atomic
from ..system.process import run_child
from ..system.processes import command_lines, end_processes
from .pip_output import DownloadWatch, Report, failure
from .venv_check import MANIFEST, defect, is_whole, record

#: The oldest Python that the engine's wheel supports (cp310-abi3).
MINIMUM_PYTHON = (3, 10)
_PIN = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+")
#: The top-level names of a complete or partial environment.
_OURS = frozenset(("bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", MANIFEST))


class Python(NamedTuple):
    """A Python that can create environments, and its version, such as ``3.11``."""

    path: str
    version: str


class Source(NamedTuple):
    """A list of packages with the wheels that it is installed from.

    ``prepare`` brings the wheels into the directory ``wheels`` once it is known that they are
    needed. They were chosen for one Python, so that what a package says of Pythons does not count.
    """

    requirements: str
    python: Python
    wheels: str
    prepare: Callable[[], None]


#: Print the path of the pip wheel that ensurepip would install.
FIND_PIP = """
import ensurepip, os, sysconfig
bundled = os.path.join(ensurepip.__path__[0], "_bundled")
places = filter(None, (sysconfig.get_config_var("WHEEL_PKG_DIR"), bundled))
wheels = [os.path.join(place, "pip-%s-py3-none-any.whl" % ensurepip.version()) for place in places]
print(next(filter(os.path.isfile, wheels), ""))
"""


class Outcome(NamedTuple):
    """Whether the environment was recreated, and why."""

    changed: bool
    why: str


def ensure(
    path: str,
    requirements_file: str,
    *,
    pythons: Sequence[str],
    environment: Mapping[str, str],
    report: Report,
    find_links: str = "",
    source: Optional[Source] = None,
    write: bool = True,
    find_pip: str = FIND_PIP,
) -> Outcome:
    """Make ``path`` an environment with the packages of ``requirements_file``.

    ``pythons`` are tried in order; the first one that can create environments is used. With
    ``find_links`` (a directory of wheels) no network is used. ``source`` has the list of packages,
    which is written to ``requirements_file``, and the Python. Raises the DreamError that fits the
    failure.

    ``find_pip`` is the text of a Python program that prints the path of pip's wheel.
    """
    requirements = source.requirements if source else _read(requirements_file)
    why = defect(path, requirements)
    if not write:
        return Outcome(bool(why), why)
    work = _Workspace(path)
    if source:
        _write_list(requirements_file, requirements)
    if not why:
        # Left by a kill between the last check and this line.
        work.close()
        return Outcome(False, "")
    _refuse_foreign(path)
    if source:
        # The environment of before serves until all that follows it is here.
        source.prepare()
    work.open()
    python = source.python.path if source else ""
    python = python or choose_python(pythons, work.environment(environment)).path
    _end_leftovers(path)
    _put_aside(path)
    _clear(path)
    report("creating the environment", 0, 0)
    _run([python, "-I", "-m", "venv", "--without-pip", path], work, environment, report)
    pip = _pip_of(path, work, environment, report, find_pip)
    command = _install(pip, requirements_file, source.wheels if source else find_links)
    if source:
        # Byte code comes with the first start, of what is imported.
        command += ["--no-compile", "--no-cache-dir", "--ignore-requires-python"]
        report("installing %d packages" % len(_pins(requirements)), 0, 0)
    with DownloadWatch(work.temporary, report) as watch:
        _run(command, work, environment, watch.take)
    record(path, requirements)
    still = defect(path, requirements)
    if still:
        raise IntegrityError(
            "the new environment is damaged: %s" % still,
            code="VENV_BROKEN",
            where=path,
            hint="check the disk, then run again",
        )
    work.close()
    return Outcome(True, why)


def _read(path: str) -> str:
    try:
        text = text_file.read(path)
    except text_file.Unreadable as error:
        raise UsageError(
            "the list of packages cannot be read: %s" % error.reason,
            code="REQUIREMENTS_UNREADABLE",
            where=path,
            hint="use the path of a pip requirements file",
        ) from error
    if not _pins(text):
        raise UsageError(
            "the list of packages has no pinned package",
            code="REQUIREMENTS_EMPTY",
            where=path,
            hint="list each package as NAME==VERSION with its --hash",
        )
    return text


def _pins(text: str) -> List[str]:
    return [line for line in text.splitlines() if _PIN.match(line)]


def _write_list(path: str, text: str) -> None:
    try:
        if text_file.read(path) == text:
            return
    except text_file.Unreadable:
        pass
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise atomic.translate(error, path) from error
    atomic.write_bytes(path, text.encode("utf-8"), 0o644)


def _python_of(path: str) -> str:
    return os.path.join(path, "bin", "python")


def _refuse_foreign(path: str) -> None:
    """Refuse to delete a directory that is not a complete or partial environment."""
    if not os.path.lexists(path):
        return
    if os.path.islink(path) or not os.path.isdir(path) or not set(os.listdir(path)) <= _OURS:
        raise UsageError(
            "%s exists and is not a virtual environment" % path,
            code="VENV_FOREIGN",
            where=path,
            hint="move it away, or choose another install directory",
        )


def _end_leftovers(path: str) -> None:
    """Stop an ensurepip or pip of a killed run, which would still write to the directory."""
    below = os.path.join(path, "bin") + "/"
    end_processes(
        [
            pid
            for pid, argv in command_lines().items()
            if argv and argv[0].startswith(below) and any("pip" in part for part in argv[1:])
        ]
    )


def _put_aside(path: str) -> None:
    """Keep a complete environment until the new one is known to work (last_good.py).

    If one is already kept, it stays: the environments after it were never known to work.
    """
    if os.path.lexists(former(path)) or not os.path.isdir(path):
        return
    if is_whole(path):
        try:
            os.rename(path, former(path))
        except OSError as error:
            raise atomic.translate(error, path) from error


def _clear(path: str) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise atomic.translate(error, path) from error


class _Workspace:
    """pip's cache and temporary files; they are kept after a kill and removed at the end."""

    def __init__(self, path: str) -> None:
        self.directory = os.path.dirname(path)
        self._cache = os.path.join(self.directory, ".pip-cache")
        self.temporary = os.path.join(self.directory, ".pip-tmp")

    def open(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
        for path in (self._cache, self.temporary):
            try:
                os.makedirs(path, mode=0o700, exist_ok=True)
            except OSError as error:
                raise atomic.translate(error, path) from error

    def close(self) -> None:
        for path in (self._cache, self.temporary):
            shutil.rmtree(path, ignore_errors=True)

    def environment(self, given: Mapping[str, str]) -> Dict[str, str]:
        """Return the caller's environment without variables that redirect Python or pip."""
        kept = {
            name: value
            for name, value in given.items()
            if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "DREAM_RUN_ID")
        }
        found = network_env.of_pip(kept)
        found.pop("PIP_NO_CACHE_DIR", None)
        return dict(found, PIP_CACHE_DIR=self._cache, TMPDIR=self.temporary, LC_ALL="C.UTF-8")


def choose_python(
    pythons: Sequence[str], environment: Dict[str, str], versions: Sequence[str] = ()
) -> Python:
    """Return the first Python that is new enough and can create environments.

    ``versions`` are the only ones that will do, such as ``3.11``.
    Raises RequirementError PYTHON_VENV_MISSING.
    """
    look = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for python in pythons:
        if os.access(python, os.X_OK):
            done = run_child([python, "-I", "-c", look], environment=environment, directory="/")
            version = done.output.strip()
            if done.status == 0 and _is_usable(version, versions):
                return Python(python, version)
    wanted = " or ".join(versions) if versions else "%d.%d or newer" % MINIMUM_PYTHON
    raise RequirementError(
        "this host has no Python %s that can create virtual environments" % wanted,
        code="PYTHON_VENV_MISSING",
        where=", ".join(pythons),
        hint="install it: apt-get install python3-venv (Debian and Ubuntu)",
    )


def _is_usable(version: str, versions: Sequence[str]) -> bool:
    if versions:
        return version in versions
    return tuple(map(int, version.split("."))) >= MINIMUM_PYTHON


def _pip_of(
    path: str,
    work: "_Workspace",
    environment: Mapping[str, str],
    report: Report,
    find_pip: str,
) -> List[str]:
    """Return the command that runs pip from its wheel, without installing pip.

    Installing pip takes longer than its actual work. ensurepip installs it only if the wheel is not
    found.
    """
    python = _python_of(path)
    found = run_child(
        [python, "-I", "-c", find_pip],
        environment=work.environment(environment),
        directory=work.directory,
    )
    wheel = found.output.strip()
    if found.status == 0 and wheel:
        return [python, "-I", os.path.join(wheel, "pip")]
    # Not through venv, which would leave pip running as a grandchild after a kill.
    _run([python, "-I", "-m", "ensurepip"], work, environment, report)
    return [python, "-I", "-m", "pip"]


def _install(pip: Sequence[str], requirements_file: str, find_links: str) -> List[str]:
    command = [*pip, "install"]
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
        on_line=lambda line: report(line, 0, 0),
    )
    if done.status != 0:
        raise failure(done, work.directory)
