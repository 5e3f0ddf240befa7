"""A virtual environment that holds exactly what a hash-pinned list says.

Whether it does is read from the files themselves: every one against the list
of digests that was written last when the environment was made from packages
that pip had verified. One that differs is made anew; pip's cache beside it
saves a killed run from fetching again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import threading
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Type

from ..errors import (
    DiskError,
    DreamError,
    EngineError,
    IntegrityError,
    NetworkError,
    PrivilegeError,
    RequirementError,
    UsageError,
)
from ..network import network_env
from ..redact import without_logins
from ..system import atomic, text_file
from ..system.process import Finished, command_lines, end_processes, run_child

#: cp310-abi3: the oldest Python the engine's wheel runs on.
MINIMUM_PYTHON = (3, 10)
_PIN = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+")
#: The list of digests at the top of a finished environment.
_MANIFEST = ".dream-runner.json"
_MANIFEST_SCHEMA = 1
#: What an environment, whole or half made, has at its top.
_OURS = frozenset(
    ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", _MANIFEST)
)
#: Takes what pip says, with bytes done and in all while it fetches, else zeros.
Report = Callable[[str, int, int], None]


class Outcome(NamedTuple):
    """Whether the environment was made anew, and why."""

    changed: bool
    why: str


def defect(path: str, requirements: str) -> str:
    """Return why ``path`` is not the wanted environment; empty when it is."""
    if not os.path.lexists(path):
        return "there is none"
    version = _runs_as(path)
    if not version:
        return "its Python does not run"
    manifest, why = atomic.read_json(os.path.join(path, _MANIFEST))
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return "its list of files is not usable: %s" % (why or "it was never finished")
    if manifest.get("python") != version:
        return "it was made for another Python than %s" % version
    if manifest.get("requirements") != _digest_of_text(requirements):
        return "it was made from another list of packages"
    return _difference(manifest["files"], _files(path))


def _difference(recorded: Mapping[str, str], found: Mapping[str, str]) -> str:
    for name in sorted({*recorded, *found}):
        if name not in found:
            return "%s is missing" % name
        if recorded.get(name) != found[name]:
            return "%s is not as it was made" % name
    return ""


def _files(path: str) -> Dict[str, str]:
    """Return what each file is; byte code, which Python writes by itself, is left out."""
    found = {}
    for folder, names, files in os.walk(path):
        names[:] = [name for name in names if name != "__pycache__"]
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        for name in files + links:
            full = os.path.join(folder, name)
            relative = os.path.relpath(full, path)
            if relative != _MANIFEST:
                found[relative] = _described(full)
    return found


def _described(path: str) -> str:
    """Return the mode and digest of a file, or where a link points."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return "link to " + os.readlink(path)
        return "%04o %s" % (stat.S_IMODE(status.st_mode), _digest_of_file(path))
    except OSError as error:
        return "unreadable: %s" % error.strerror


def _digest_of_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1024 * 1024), b""):
            digest.update(block)
    return digest.hexdigest()


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _runs_as(path: str) -> str:
    """Return major.minor of the environment's Python; empty when it is not one that runs."""
    python = os.path.join(path, "bin", "python")
    look = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.prefix)"
    try:
        done = run_child([python, "-I", "-c", look], environment={}, directory="/")
    except OSError:
        return ""
    version, _, prefix = done.output.partition("\n")
    is_ours = os.path.realpath(prefix) == os.path.realpath(path)
    return version if done.status == 0 and is_ours else ""


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
    if not write:
        return Outcome(bool(why), why)
    work = _Workspace(path)
    if not why:
        # Left by a kill between the last proof and this line.
        work.close()
        return Outcome(False, "")
    _refuse_foreign(path)
    work.open()
    python = choose_python(pythons, work.environment(environment))
    _end_leftovers(path)
    _put_aside(path)
    _clear(path)
    report("making the environment", 0, 0)
    _run([python, "-I", "-m", "venv", "--without-pip", path], work, environment, report)
    pip = _pip_of(path, work, environment, report)
    command = _install(pip, requirements_file, find_links)
    with _Watch(work.temporary, report) as watch:
        _run(command, work, environment, watch.take)
    _finish(path, requirements)
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


def _finish(path: str, requirements: str) -> None:
    """Write the list of digests: its presence says that everything before it was done."""
    manifest = {
        "schema": _MANIFEST_SCHEMA,
        "python": _runs_as(path),
        "requirements": _digest_of_text(requirements),
        "files": _files(path),
    }
    atomic.write_json(os.path.join(path, _MANIFEST), manifest, mode=0o644)


def _read(path: str) -> str:
    try:
        text = text_file.read(path)
    except text_file.Unreadable as error:
        raise UsageError(
            "the list of packages cannot be read: %s" % error.reason,
            code="REQUIREMENTS_UNREADABLE",
            where=path,
            hint="give the path of a pip requirements file",
        ) from error
    if not any(map(_PIN.match, text.splitlines())):
        raise UsageError(
            "the list of packages pins nothing",
            code="REQUIREMENTS_EMPTY",
            where=path,
            hint="name each package as NAME==VERSION with its --hash",
        )
    return text


def _python_of(path: str) -> str:
    return os.path.join(path, "bin", "python")


def _refuse_foreign(path: str) -> None:
    """Never delete a folder that is not an environment, whole or half made or half deleted."""
    if not os.path.lexists(path):
        return
    if os.path.islink(path) or not os.path.isdir(path) or not set(os.listdir(path)) <= _OURS:
        raise UsageError(
            "%s is there and is no virtual environment" % path,
            code="VENV_FOREIGN",
            where=path,
            hint="move it away, or choose another install directory",
        )


def _end_leftovers(path: str) -> None:
    """End an ensurepip or pip of a killed run: it would write where we now build."""
    below = os.path.join(path, "bin") + "/"
    end_processes(
        [
            pid
            for pid, argv in command_lines().items()
            if argv and argv[0].startswith(below) and any("pip" in part for part in argv[1:])
        ]
    )


def _put_aside(path: str) -> None:
    """Keep a whole environment until the one that follows has proved itself (last_good.py).

    One that is kept already worked; what has come since was never proved.
    """
    if os.path.lexists(former(path)) or not os.path.isdir(path):
        return
    manifest, _ = atomic.read_json(os.path.join(path, _MANIFEST))
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if isinstance(files, dict) and files == _files(path) and _runs_as(path):
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
    """pip's cache and temporary files beside the environment: kept by a kill, gone when done."""

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
        """Return the caller's environment less what would point Python or pip elsewhere."""
        kept = {
            name: value
            for name, value in given.items()
            if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "DREAM_RUN_ID")
        }
        found = network_env.of_pip(kept)
        found.pop("PIP_NO_CACHE_DIR", None)
        return dict(found, PIP_CACHE_DIR=self._cache, TMPDIR=self.temporary, LC_ALL="C.UTF-8")


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


#: Where a Python keeps the wheel of pip that ensurepip would install.
_FIND_PIP = """
import ensurepip, os, sysconfig
bundled = os.path.join(ensurepip.__path__[0], "_bundled")
places = filter(None, (sysconfig.get_config_var("WHEEL_PKG_DIR"), bundled))
wheels = [os.path.join(place, "pip-%s-py3-none-any.whl" % ensurepip.version()) for place in places]
print(next(filter(os.path.isfile, wheels), ""))
"""


def _pip_of(
    path: str, work: "_Workspace", environment: Mapping[str, str], report: Report
) -> List[str]:
    """Return how to start pip: out of its wheel, which leaves nothing behind.

    To install pip first takes longer than what it is for. ensurepip, which does so, is for a Python
    whose wheel lies where nobody looks.
    """
    python = _python_of(path)
    found = run_child(
        [python, "-I", "-c", _FIND_PIP],
        environment=work.environment(environment),
        directory=work.directory,
    )
    wheel = found.output.strip()
    if found.status == 0 and wheel:
        return [python, "-I", os.path.join(wheel, "pip")]
    # Not by venv, whose grandchild it would be: a kill leaves that running.
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
        raise _failure(done, work.directory)


#: pip names what it fetches, and its size where the index knows it.
_FETCHING = re.compile(r"\s*Downloading (?:\S*/)?(\S+)(?: \(([\d.]+) ([kMG]?)B\))?$")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


class _Watch:
    """Reports how far pip's download is, which pip itself tells only to a terminal.

    It writes a file below its temporary directory, of the name it has told; to look at its size
    twice a second is all it takes.
    """

    def __init__(self, directory: str, report: Report) -> None:
        self._directory = directory
        self._report = report
        self._wanted: Tuple[str, int] = ("", 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def take(self, line: str, done: int, total: int) -> None:
        """Hand on a line of pip's, and note what it fetches now."""
        self._wanted = fetching(line)
        self._report(line, done, total)

    def _look(self) -> None:
        while not self._over.wait(0.5):
            name, total = self._wanted
            size = _size_below(self._directory, name) if name else 0
            if size:
                self._report(name, min(size, total), total)


def fetching(line: str) -> Tuple[str, int]:
    """Return the file that pip says it fetches, and its bytes; nothing where it says no size."""
    found = _FETCHING.match(line)
    if not found or not found[2]:
        return "", 0
    return found[1], int(float(found[2]) * _UNITS[found[3]])


def _size_below(directory: str, name: str) -> int:
    for folder, _, files in os.walk(directory):
        if name in files:
            with contextlib.suppress(OSError):
                return os.stat(os.path.join(folder, name)).st_size
    return 0


#: The words of pip (23 to 26) and of the system, the more certain first.
_FAILURES: Tuple[Tuple[str, Type[DreamError], str, str], ...] = (
    (
        "No space left|Errno 28|quota exceeded",
        DiskError,
        "DISK_FULL",
        "free some space, then run again",
    ),
    ("Read-only file system", DiskError, "READ_ONLY", "choose a directory that can be written"),
    (
        "DO NOT MATCH THE HASHES",
        IntegrityError,
        "DIGEST_MISMATCH",
        "the package source delivers other bytes than were pinned; check the mirror or proxy",
    ),
    (
        "407 Proxy Authentication",
        NetworkError,
        "PROXY_REFUSED",
        "check the user and password of the proxy in HTTPS_PROXY or HTTP_PROXY",
    ),
    ("Permission denied", PrivilegeError, "NOT_PERMITTED", "check the owner of the directory"),
    (
        "name resolution|Name or service not known|Failed to establish|Connection|ProxyError"
        "|SSLError|CERTIFICATE_VERIFY_FAILED|timed out|Retrying|IncompleteRead|ProtocolError"
        "|HTTP error [45]|Network is unreachable",
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
    (
        "No module named .?(venv|ensurepip)|ensurepip is (not available|disabled)",
        RequirementError,
        "PYTHON_VENV_MISSING",
        "install it: apt-get install python3-venv (Debian and Ubuntu)",
    ),
)


def _failure(done: Finished, where: str) -> DreamError:
    """Return what pip's or venv's output means."""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    for pattern, cls, code, hint in _FAILURES:
        said = next((line for line in reversed(lines) if re.search(pattern, line)), "")
        if said:
            return cls(_said(said), code=code, where=where, hint=hint)
    return EngineError(
        _said(lines[-1] if lines else "no output"),
        code="VENV_FAILED",
        where=where,
        hint="log.txt of this run has the whole output",
    )


def _said(line: str) -> str:
    shown = without_logins(line)
    return "the engine's packages were not installed: %s" % shown[:300]


def former(path: str) -> str:
    """Return where a directory of packages waits until its successor has proved itself."""
    return path + ".former"
