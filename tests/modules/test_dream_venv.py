"""The engine's environment: exactly what the pinned list says, whatever happened to it."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.native import pip_output, venv, venv_check
from dream_runner.module_utils.dream_core.system import process, processes

from .conftest import Run

MAKE = """
import sys
sys.path.insert(0, {!r})
from dream_runner.module_utils.dream_core.native import venv
venv.ensure({!r}, {!r}, pythons=["/usr/bin/python3", sys.executable], environment={{}},
            report=print, find_links={!r})
"""


def wheel(directory: Path, name: str, version: str) -> str:
    """Write a wheel with one module and a command; return its pinned line."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}={name}:VERSION\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
        record += f"{path},sha256={digest.decode().rstrip('=')},{len(content)}\n"
    target = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in [*files.items(), (f"{info}/RECORD", f"{record}{info}/RECORD,,\n")]:
            archive.writestr(path, content)
    pin = hashlib.sha256(target.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{pin}\n"


def in_packages(wanted: dict[str, Any]) -> set[str]:
    (folder,) = Path(wanted["path"]).glob("lib/python*/site-packages")
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


@pytest.mark.parametrize("has_wheel", [True, False])
def test_pip_itself_is_only_installed_where_its_wheel_is_not_found(
    has_wheel: bool, wanted: dict[str, Any]
) -> None:
    said: list[str] = []
    venv.ensure(
        wanted["path"],
        wanted["requirements"],
        pythons=[sys.executable],
        environment=dict(os.environ),
        report=lambda line, done, total: said.append(line),
        find_links=wanted["find_links"],
        find_pip=venv.FIND_PIP if has_wheel else "print()",
    )
    assert version_in(wanted) == "1.0"
    only_ours = {"tinyone.py", "tinyone-1.0.dist-info"}
    assert (in_packages(wanted) == only_ours) is has_wheel
    assert in_packages(wanted) >= only_ours
    assert said[0] == "creating the environment"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  Downloading a-1.0-py3-none-any.whl (33.8 MB)", ("a-1.0-py3-none-any.whl", 33_800_000)),
        ("Downloading https://i/x/a-1.whl (912 kB)", ("a-1.whl", 912_000)),
        ("Downloading a-1.whl", ("", 0)),
        ("Using cached a-1.whl (33.8 MB)", ("", 0)),
        ("Installing collected packages: a", ("", 0)),
    ],
)
def test_what_pip_fetches_is_understood(line: str, expected: tuple[str, int]) -> None:
    assert pip_output.fetching(line) == expected


def test_bytes_are_told_while_pip_fetches(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    heard = threading.Event()

    def report(line: str, done: int, total: int) -> None:
        told.append((line, done, total))
        if total:
            heard.set()

    partial = tmp_path / "pip-unpack-x" / "a-1.whl"
    partial.parent.mkdir()
    partial.write_bytes(b"x" * 300)
    with pip_output.DownloadWatch(str(tmp_path), report) as watch:
        watch.take("Downloading a-1.whl (1 kB)", 0, 0)
        assert heard.wait(10)
        watch.take("Installing collected packages: a", 0, 0)
    assert told[0] == ("Downloading a-1.whl (1 kB)", 0, 0)
    assert ("a-1.whl", 300, 1000) in told


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# why\n" + wheel(wheels, "tinyone", "1.0"))
    (tmp_path / "engine").mkdir()
    return {
        "path": str(tmp_path / "engine" / "venv"),
        "requirements": str(requirements),
        "find_links": str(wheels),
    }


def version_in(wanted: dict[str, Any]) -> str:
    argv = [wanted["path"] + "/bin/python", "-I", "-c", "import tinyone; print(tinyone.VERSION)"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def names(wanted: dict[str, Any]) -> list[str]:
    return sorted(os.listdir(os.path.dirname(wanted["path"])))


def lock_of(folder: Path, *files: str) -> Path:
    """Write a lock of wheels in ``folder`` for this Python; return its path."""
    target = f"{sys.version_info[0]}.{sys.version_info[1]}-amd64"
    rows = []
    for name in files:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        rows.append({"file": name, "sha256": digest, "size_bytes": len(content)})
    document = {"schema": "dream-runner.wheels/1", "project": files[0].split("-")[0]}
    document |= {"version": "1.0", "targets": [target], "wheels": rows}
    path = folder / "lock.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def locked(tmp_path: Path) -> dict[str, Any]:
    source = tmp_path / "source"
    source.mkdir()
    wheel(source, "tinyone", "1.0")
    wheel(source, "tinytwo", "2.0")
    return {
        "path": str(tmp_path / "app" / "venv"),
        "requirements": str(tmp_path / "app" / "requirements.txt"),
        "lock": str(
            lock_of(source, "tinyone-1.0-py3-none-any.whl", "tinytwo-2.0-py3-none-any.whl")
        ),
        "find_links": str(source),
        "python": [sys.executable],
        "arch": "amd64",
    }


def test_a_lock_is_installed_from_wheels_that_go_when_they_are_proved(
    run_module: Run, locked: dict[str, Any]
) -> None:
    assert run_module("dream_venv", check=True, **locked)["changed"] is True
    assert not os.path.exists(locked["path"])
    done = run_module("dream_venv", **locked)
    assert done["changed"] is True
    wheels = Path(locked["find_links"]).glob("*.whl")
    assert done["bytes_fetched"] == sum(item.stat().st_size for item in wheels)
    assert version_in(locked) == "1.0"
    assert names(locked) == ["requirements.txt", "venv"]
    again = run_module("dream_venv", **locked)
    assert (again["changed"], again["bytes_fetched"]) == (False, 0)
    assert run_module("dream_venv", check=True, **locked)["changed"] is False


def test_a_damaged_file_of_a_lock_is_noticed(run_module: Run, locked: dict[str, Any]) -> None:
    run_module("dream_venv", **locked)
    (module,) = Path(locked["path"]).glob("lib/python*/site-packages/tinytwo.py")
    module.write_text("VERSION = 'bad'")
    again = run_module("dream_venv", **locked)
    assert (again["changed"], "tinytwo.py" in again["why"]) == (True, True)
    assert module.read_text() == "VERSION = '2.0'\n"


def test_the_environment_of_before_stays_until_all_wheels_are_here(
    run_module: Run, locked: dict[str, Any]
) -> None:
    run_module("dream_venv", **locked)
    source = Path(locked["find_links"])
    wheel(source, "tinytwo", "3.0")
    files = ("tinyone-1.0-py3-none-any.whl", "tinytwo-3.0-py3-none-any.whl")
    lock_of(source, *files)
    (source / files[1]).unlink()
    failed = run_module("dream_venv", **locked)
    assert failed["failed"] is True
    assert version_in(locked) == "1.0"
    wheel(source, "tinytwo", "3.0")
    lock_of(source, *files)
    assert run_module("dream_venv", **locked)["changed"] is True
    assert names(locked) == ["requirements.txt", "venv", "venv.former"]


def test_a_lock_without_this_python_is_refused(run_module: Run, locked: dict[str, Any]) -> None:
    text = Path(locked["lock"]).read_text()
    target = f"{sys.version_info[0]}.{sys.version_info[1]}-amd64"
    Path(locked["lock"]).write_text(text.replace(target, "3.99-amd64"))
    failed = run_module("dream_venv", **locked)
    assert failed["dream_error"]["code"] == "PYTHON_VENV_MISSING"
    assert "this host has no Python 3.99" in failed["msg"]


def test_made_once_then_mended_when_it_rots(run_module: Run, wanted: dict[str, Any]) -> None:
    expected = run_module("dream_venv", check=True, **wanted)
    assert expected["changed"] is True
    assert names(wanted) == []
    assert run_module("dream_venv", **wanted)["changed"] is True
    assert version_in(wanted) == "1.0"
    assert names(wanted) == ["venv"]
    assert run_module("dream_venv", check=True, **wanted)["changed"] is False
    assert run_module("dream_venv", **wanted)["changed"] is False

    # Same size, other content: only the digest tells.
    module = next(Path(wanted["path"]).glob("lib/python*/site-packages/tinyone.py"))
    module.write_text("VERSION = '6.6'\n")
    result = run_module("dream_venv", **wanted)
    assert "tinyone.py" in result["why"]
    assert version_in(wanted) == "1.0"

    # A new list is a new environment.
    Path(wanted["requirements"]).write_text(wheel(Path(wanted["find_links"]), "tinyone", "2.0"))
    assert run_module("dream_venv", **wanted)["changed"] is True
    assert version_in(wanted) == "2.0"


def damage_of(kind: str, path: Path) -> None:
    site = next(path.glob("lib/python*/site-packages"))
    if kind == "interpreter":
        (path / "bin" / "python").unlink()
        (path / "bin" / "python").symlink_to("/nowhere/python3")
    elif kind == "record":
        record = next(site.glob("tinyone-*.dist-info/RECORD"))
        record.write_bytes(b"")
    elif kind == "pyvenv.cfg":
        (path / "pyvenv.cfg").unlink()
    elif kind == "other python":
        site.parent.rename(site.parent.with_name("python3.1"))
    elif kind == "never finished":
        (path / ".dream-runner.json").unlink()
    elif kind == "a file more":
        (site / "sitecustomize.py").touch()
    elif kind == "a script less":
        (path / "bin" / "activate").unlink()
    elif kind == "a mode":
        (site / "tinyone.py").chmod(0o600)


def test_every_damage_is_seen(run_module: Run, wanted: dict[str, Any]) -> None:
    run_module("dream_venv", **wanted)
    text = Path(wanted["requirements"]).read_text()
    path = Path(wanted["path"])
    assert venv_check.defect(str(path), text) == ""
    for kind in (
        *("record", "interpreter", "pyvenv.cfg", "other python", "never finished"),
        *("a file more", "a script less", "a mode"),
    ):
        copy = path.with_name(kind)
        subprocess.run(["cp", "-a", path, copy], check=True)
        path.rename(path.with_name("aside"))
        copy.rename(path)
        damage_of(kind, path)
        assert venv_check.defect(str(path), text) != "", kind
        subprocess.run(["rm", "-rf", path], check=True)
        path.with_name("aside").rename(path)


def test_killed_at_any_instant_then_complete(run_module: Run, wanted: dict[str, Any]) -> None:
    code = MAKE.format(os.getcwd(), wanted["path"], wanted["requirements"], wanted["find_links"])
    for seconds in (0.3, 1.0, 2.0):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            time.sleep(seconds)
            child.send_signal(signal.SIGKILL)
    run_module("dream_venv", **wanted)
    assert version_in(wanted) == "1.0"
    assert names(wanted) == ["venv"]
    assert run_module("dream_venv", **wanted)["changed"] is False
    below = wanted["path"] + "/"
    assert not [a for a in processes.command_lines().values() if a and a[0].startswith(below)]


def test_other_bytes_than_pinned_are_refused(run_module: Run, wanted: dict[str, Any]) -> None:
    requirements = Path(wanted["requirements"])
    requirements.write_text("tinyone==1.0 --hash=sha256:" + "0" * 64 + "\n")
    result = run_module("dream_venv", **wanted)
    assert result["dream_error"]["code"] == "DIGEST_MISMATCH"
    assert result["dream_error"]["exit_code"] == 7


def test_a_folder_of_somebody_else_stays(run_module: Run, wanted: dict[str, Any]) -> None:
    mine = Path(wanted["path"]) / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    result = run_module("dream_venv", **wanted)
    assert result["dream_error"]["code"] == "VENV_FOREIGN"
    assert mine.read_text() == "years of work"


@pytest.mark.parametrize(
    ("said", "exit_code"),
    [
        ("OSError: [Errno 28] No space left on device", 6),
        ("WARNING: Retrying after connection broken by 'NewConnectionError'", 5),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", 5),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", 7),
        ("ERROR: No matching distribution found for xllamacpp", 3),
        ("/usr/bin/python3: No module named venv", 3),
        ("PermissionError: [Errno 13] Permission denied: '/x'", 4),
        ("Tunnel connection failed: 407 Proxy Authentication Required", 5),
        ("something new", 8),
    ],
)
def test_what_pip_says_is_understood(said: str, exit_code: int) -> None:
    done = process.Finished(1, f"Looking in indexes: https://u:secret@host/simple\n{said}")
    assert pip_output.failure(done, "/x").exit_code == exit_code


def test_credentials_of_an_index_are_not_shown() -> None:
    for address in ("https://u:secret@host/simple", "https://u:a/secret@host/simple"):
        done = process.Finished(1, f"Connection refused: {address}")
        assert "secret" not in str(pip_output.failure(done, "/x"))


#: What a pip.conf may say about where packages go, which are taken, and whether anything happens.
ELSEWHERE = {
    "user": "true",
    "target": "{}/elsewhere",
    "prefix": "{}/elsewhere",
    "root": "{}/elsewhere",
    "src": "{}/elsewhere",
    "require-virtualenv": "true",
    "no-binary": ":all:",
    "constraint": "{}/constraints.txt",
    "build-constraint": "{}/constraints.txt",
    "requirement": "{}/constraints.txt",
    "dry-run": "true",
    "python": "{}/no-python",
    "report": "{}/report.json",
    "log": "{}/no/log",
    "ignore-installed": "true",
    "upgrade": "true",
    "force-reinstall": "true",
    "pre": "true",
    "only-binary": ":none:",
    "no-compile": "true",
    "quiet": "3",
    "verbose": "3",
    "no-cache-dir": "true",
    "isolated": "true",
    "break-system-packages": "true",
    "platform": "win32",
    "python-version": "2.7",
    "abi": "none",
    "implementation": "pp",
    "editable": "{}/no-project",
    "cache-dir": "{}/cache",
    "progress-bar": "on",
    "no-color": "true",
    "unheard-of": "x",
}


@pytest.mark.parametrize(
    ("place", "section"),
    [("user", "install"), ("own", "global"), ("all at once", "install"), ("variables", "")],
)
def test_no_setting_of_pip_sends_packages_elsewhere(
    place: str,
    section: str,
    wanted: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_module: Run,
) -> None:
    """pip.conf as it lies about on machines: in files, which no variable that is dropped closes."""
    home = tmp_path / "home"
    (home / ".config/pip").mkdir(parents=True)
    (tmp_path / "constraints.txt").write_text("tinyone==9\n")
    keys = {"user": "true"} if place == "user" else ELSEWHERE
    lines = [f"{key} = {value.format(tmp_path)}" for key, value in keys.items()]
    text = "\n".join([f"[{section}]", *lines, ""])
    monkeypatch.setenv("HOME", str(home))
    if place == "variables":
        for key, value in keys.items():
            name = "PIP_" + key.upper().replace("-", "_")
            monkeypatch.setenv(name, value.format(tmp_path))
    elif place == "own":
        (tmp_path / "own.conf").write_text(text)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "own.conf"))
    else:
        (home / ".config/pip/pip.conf").write_text(text)
    done = run_module("dream_venv", **wanted)
    assert done.get("failed") is not True, done
    assert version_in(wanted) == "1.0"
    assert names(wanted) == ["venv"]
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "report.json").exists()
    assert not (home / ".local").exists()


def test_the_index_of_a_pip_conf_counts(
    wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: Run
) -> None:
    """Where packages come from is the caller's business, and the files say it."""
    index, (file,) = tmp_path / "simple", Path(wanted["find_links"]).iterdir()
    (index / "tinyone").mkdir(parents=True)
    (index / "tinyone/index.html").write_text(f'<a href="{file.as_uri()}">{file.name}</a>')
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/pip.conf").write_text(f"[install]\nuser = yes\nindex-url = {index.as_uri()}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    done = run_module("dream_venv", **{**wanted, "find_links": None})
    assert done.get("failed") is not True, done
    assert version_in(wanted) == "1.0"
