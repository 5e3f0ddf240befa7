"""install.sh by itself: the private environment, in every weather.

The checkout under test is the real one with a ``dream-runner`` that only says
how it was called; what the real one does is for the other files here.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nodes import processes

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("install.sh", "requirements.lock", "pyproject.toml", "ansible.cfg", "README.md")
FOLDERS = ("dream_runner", "playbooks", "roles", "library", "docs", "scripts")
#: The command line, which the checkout under test has as SAYS.
COMMAND = Path("dream_runner") / "cli" / "app.py"
#: pip's cache survives the tests' homes, or each environment would fetch 40 MB again.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pip"
SAYS = """
import json, os, sys
def main():
    stdin = os.readlink("/proc/self/fd/0")
    told = {"argv": sys.argv[1:], "stdin": stdin, "bytecode": sys.dont_write_bytecode}
    print(json.dumps({**told, "umask": os.umask(0)}))
    sys.exit(int(os.environ.get("TEST_EXIT", "0")))
"""


class Home:
    """A HOME of its own and a checkout to install from."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "home of a user"
        self.path.mkdir(parents=True)
        self.checkout = directory / "checkout"
        self.checkout.mkdir()
        for name in PARTS:
            shutil.copy2(ROOT / name, self.checkout)
        for name in FOLDERS:
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, self.checkout / name, ignore=ignore)
        (self.checkout / COMMAND).write_text(SAYS)
        self.data = self.path / ".local" / "share" / "dream-runner"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DREAM_", "PYTHON"))
        }
        base = {"HOME": str(self.path), "PIP_CACHE_DIR": str(CACHE), "RUSTUP_HOME": "/nonexistent"}
        return {**kept, **base, **more}

    def install(
        self, *arguments: str, command: tuple[str, ...] = (), cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        script = command or (str(self.checkout / "install.sh"),)
        return subprocess.run(
            [*script, *arguments],
            env=self.environment(**env),
            cwd=cwd or self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.checkout / "install.sh"), *arguments],
            env=self.environment(**env),
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def listing(self) -> dict[str, tuple[int, int]]:
        """Return every file below HOME with size and mtime."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            status = path.lstat()
            found[str(path.relative_to(self.path))] = (status.st_size, status.st_mtime_ns)
        return found

    def change_source(self) -> None:
        with (self.checkout / COMMAND).open("a") as stream:
            stream.write("# changed\n")

    def is_tidy(self) -> bool:
        """One environment, the link to it and the lock: nothing else."""
        names = sorted(path.name for path in self.data.iterdir())
        return names == [".lock", "venv", os.readlink(self.data / "venv")]


def said(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def one_error(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one error line of a run that ended with ``code``."""
    assert done.returncode == code, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert done.stdout == ""
    return errors[0]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home where install.sh ran once; tests leave it as they found it.

    It was created with the umask 0 and a pip.conf that would install elsewhere.
    """
    home = Home(tmp_path_factory.mktemp("ready"))
    settings = home.path / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        "[install]\nuser = true\ntarget = /nonexistent\nprefix = /nonexistent\nno-deps = x\n"
    )
    umasked = ("sh", "-c", 'umask 0; exec "$0" "$@"', str(home.checkout / "install.sh"))
    assert said(home.install("--yes", command=umasked))["argv"] == ["install", "--yes"]
    assert home.is_tidy()
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_second_run_writes_nothing(ready: Home) -> None:
    before = ready.listing()
    assert said(ready.install("--profile", "native", "--model", "smoke"))["argv"] == [
        "install",
        "--profile",
        "native",
        "--model",
        "smoke",
    ]
    assert ready.listing() == before


def test_arguments_and_exit_code_pass_through(ready: Home) -> None:
    words = ["--answers", "a b'c\"d", "--", "*", ""]
    assert said(ready.install(*words))["argv"] == ["install", *words]
    assert ready.install("--yes", TEST_EXIT="12").returncode == 12


def test_from_any_directory_and_through_a_link(ready: Home, tmp_path: Path) -> None:
    link = tmp_path / "start"
    link.symlink_to(ready.checkout / "install.sh")
    assert said(ready.install("--yes", command=(str(link),), cwd=Path("/")))["argv"]


def test_piped_reads_no_answer_from_the_script(ready: Home) -> None:
    script = (ready.checkout / "install.sh").read_bytes()
    done = subprocess.run(
        ["sh", "-s", "--", "--yes"],
        input=script + b"\n# what follows the script\n" * 1000,
        env=ready.environment(),
        cwd=ready.checkout,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "argv": ["install", "--yes"],
        "stdin": "/dev/null",
        "bytecode": False,
        "umask": 0o022,
    }


def test_dry_run_with_an_environment_uses_it_and_writes_nothing(ready: Home) -> None:
    before = ready.listing()
    assert said(ready.install("--dry-run"))["bytecode"] is True
    assert ready.listing() == before


def test_dry_run_without_one_shows_the_steps_and_this_machine(home: Home) -> None:
    before = (home.listing(), sorted(home.checkout.rglob("*")))
    done = home.install("--dry-run", "--profile", "native", "--model", "smoke")
    assert done.returncode == 0, done.stderr
    assert "each verified by its sha256" in done.stdout
    assert "memory " in done.stdout
    assert (home.listing(), sorted(home.checkout.rglob("*"))) == before


def test_dry_run_as_json(home: Home) -> None:
    report = json.loads(home.install("--dry-run", "--json").stdout)
    assert report["schema"] == "dream-runner.dry-run/1"
    assert report["bootstrap"]["packages"] > 20
    assert report["host"]["arch"] in ("amd64", "arm64")
    assert len(report["phases"]) == 14


@pytest.mark.slow
def test_a_broken_environment_is_made_anew(ready: Home) -> None:
    package = next(ready.data.glob("venv-*/lib/python3*/site-packages/ansible_runner"))
    shutil.rmtree(package)
    assert said(ready.install("--yes"))["argv"] == ["install", "--yes"]
    assert package.is_dir()
    assert ready.is_tidy()


def test_a_foreign_command_is_left_alone(ready: Home) -> None:
    link = ready.path / ".local" / "bin" / "dream-runner"
    target = os.readlink(link)
    link.unlink()
    link.write_text("somebody else's")
    done = ready.install("--yes")
    assert said(done)
    assert "was not created by install.sh" in done.stderr
    assert link.read_text() == "somebody else's"
    link.unlink()
    assert said(ready.install("--yes"))
    assert os.readlink(link) == target


def test_upgrade_replaces_the_environment_and_keeps_one_in_use(ready: Home) -> None:
    home = ready
    old = home.data / os.readlink(home.data / "venv")
    sleeper = subprocess.Popen(
        [str(old / "bin" / "python"), "-c", "input()"], stdin=subprocess.PIPE
    )
    try:
        home.change_source()
        said(home.install("--yes"))
        assert old.is_dir()
        assert (home.data / "venv").resolve() != old
    finally:
        sleeper.communicate(b"\n", timeout=30)
    said(home.install("--yes"))
    assert home.is_tidy()


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_killed_anywhere_then_run_again(seed: int, home: Home) -> None:
    delay = random.Random(seed).uniform(0.05, 11)
    running = home.start("--yes")
    time.sleep(delay)
    processes.kill_all(home.path)
    running.communicate(timeout=30)
    assert said(home.install("--yes"))["argv"] == ["install", "--yes"]
    assert home.is_tidy()
    before = home.listing()
    assert said(home.install("--yes"))
    assert home.listing() == before
    assert not processes.of_home(home.path)


@pytest.mark.slow
def test_two_at_once_make_one_environment(home: Home) -> None:
    both = [home.start("--yes"), home.start("--yes")]
    spoken = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], spoken
    assert sum("environment ready" in err for _, err in spoken) == 1
    assert sum("waiting for it" in err for _, err in spoken) == 1
    assert home.is_tidy()


def test_a_package_that_is_not_the_pinned_one(home: Home) -> None:
    lock = home.checkout / "requirements.lock"
    head, _, rest = lock.read_text().partition("\nrich==")
    pin, separator, tail = rest.partition("\nrpds-py==")
    pin = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, pin)
    lock.write_text(head + "\nrich==" + pin + separator + tail)
    assert "pinned digest" in one_error(home.install("--yes"), 7)
    assert not list(home.data.glob("venv*"))


def test_no_network(home: Home) -> None:
    done = home.install(
        "--yes",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
        PIP_CONFIG_FILE="/dev/null",
        PIP_FIND_LINKS="",
        PIP_NO_CACHE_DIR="1",
    )
    assert "cannot be reached" in one_error(done, 5)
    assert not list(home.data.glob("venv*"))


def test_no_space(home: Home, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("mounting a small filesystem needs root")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], check=True)
    try:
        assert "needs" in one_error(home.install("--yes", XDG_DATA_HOME=str(small)), 6)
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


def test_read_only_home(home: Home, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("mounting a read-only filesystem needs root")
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=900m", "tmpfs", frozen], check=True)
    try:
        assert "read-only" in one_error(home.install("--yes", XDG_DATA_HOME=str(frozen)), 6)
    finally:
        subprocess.run(["umount", frozen], check=True)


@pytest.mark.parametrize("place", ["/nonexistent", "/etc", "/etc/passwd"])
def test_source_that_is_none(home: Home, place: str) -> None:
    assert "neither" in one_error(home.install("--yes", DREAM_RUNNER_SOURCE=place), 2)


#: An older module than ours, and one that ours needs: both stop whoever finds them.
TRAPS = ("json", "yaml", "dream_runner")


def test_the_command_is_closed_to_the_shells_settings_of_python(
    ready: Home, tmp_path: Path
) -> None:
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')\n")
    command = str(ready.path / ".local" / "bin" / "dream-runner")
    traps = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": "/nonexistent",
        "PYTHONSTARTUP": "/nonexistent",
        "PYTHONWARNINGS": "error",
        "PYTHONSAFEPATH": "1",
        "PYTHONINSPECT": "1",
    }
    done = subprocess.run(
        ["sh", "-c", 'umask 0; exec "$0" status', command],
        env={**ready.environment(), **traps},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said(done)["argv"] == ["status"]
    assert said(done)["umask"] == 0o022
    assert done.stderr == ""
    assert said(ready.install("--yes", **traps))["argv"] == ["install", "--yes"]


def test_only_the_index_of_a_pip_conf_counts(home: Home, ready: Home) -> None:
    """Where to install, which ``ready`` was created with, does not."""
    settings = home.path / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[global]\nindex-url = https://mirror.invalid/simple\nretries = 0\n")
    done = home.install("--yes", PIP_NO_CACHE_DIR="1")
    assert "cannot be reached" in one_error(done, 5)
    assert (ready.data / "venv" / "bin" / "python").exists()


def test_a_careless_umask_opens_no_file_to_others(ready: Home) -> None:
    made = [path for path in ready.data.rglob("*") if not path.is_symlink()]
    assert len(made) > 1000
    assert [path for path in made if path.stat().st_mode & 0o022] == []


def test_a_filesystem_that_runs_no_programs(home: Home, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("mounting a filesystem needs root")
    closed = tmp_path / "closed"
    closed.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,size=900m", "tmpfs", closed], check=True)
    try:
        assert "noexec" in one_error(home.install("--yes", XDG_DATA_HOME=str(closed)), 3)
        assert not list(closed.iterdir())
    finally:
        subprocess.run(["umount", closed], check=True)


def test_alone_it_says_how_to_get_the_rest(home: Home, tmp_path: Path) -> None:
    script = tmp_path / "alone" / "install.sh"
    script.parent.mkdir()
    shutil.copy2(home.checkout / "install.sh", script)
    done = home.install("--yes", command=(str(script),))
    assert "dream-runner-0.1.0.tar.gz" in one_error(done, 2) + done.stderr
    assert home.listing() == {}


def test_interrupted_while_it_installs_it_says_so(home: Home) -> None:
    running = subprocess.Popen(
        [str(home.checkout / "install.sh"), "--yes"],
        env=home.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None
    assert "creating the private environment" in running.stderr.readline()
    time.sleep(2)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "run the same command again" in err


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the last commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("a release is made of a commit")
    made = [tmp_path_factory.mktemp("release") for _ in range(2)]
    for directory in made:
        command = [str(ROOT / "scripts" / "release.sh"), str(directory)]
        subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, check=True)
    first, second = ((path / "SHA256SUMS").read_text() for path in made)
    assert first == second, "the same commit gives the same bytes"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made[0], check=True)
    return made[0]


def reached(done: subprocess.CompletedProcess[str]) -> None:
    """The real dream-runner was installed, and refused a setting that there is not."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "error[SETTINGS_INVALID]" in done.stderr


WRONG = ("--yes", "--profile", "nonsense")


@pytest.mark.slow
def test_a_release_unpacked(home: Home, release: Path, tmp_path: Path) -> None:
    archive = next(release.glob("*.tar.gz"))
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    reached(home.install(*WRONG, command=(str(unpacked / "install.sh"),)))
    assert home.is_tidy()


@pytest.mark.parametrize("kind", ["*.tar.gz", pytest.param("*.whl", marks=pytest.mark.slow)])
def test_a_release_piped(home: Home, release: Path, tmp_path: Path, kind: str) -> None:
    source = next(release.glob(kind))
    done = subprocess.run(
        ["sh", "-s", "--", *WRONG],
        input=(ROOT / "install.sh").read_text(),
        env=home.environment(DREAM_RUNNER_SOURCE=str(source)),
        cwd=home.path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    reached(done)
    assert home.is_tidy()
    # The one of a wheel is protected as well.
    version = subprocess.run(
        [str(home.path / ".local" / "bin" / "dream-runner"), "--version"],
        env={**home.environment(), "PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.startswith("dream-runner ")


def test_a_release_that_was_changed_on_the_way(home: Home, release: Path, tmp_path: Path) -> None:
    for path in release.iterdir():
        shutil.copy2(path, tmp_path)
    archive = next(tmp_path.glob("*.tar.gz"))
    with archive.open("ab") as stream:
        stream.write(b"x")
    done = home.install("--yes", DREAM_RUNNER_SOURCE=str(archive))
    assert "SHA256SUMS" in one_error(done, 7)
    assert home.listing() == {}


def test_help_makes_nothing(home: Home) -> None:
    done = home.install("--help")
    assert done.returncode == 0
    assert "--profile" in done.stdout
    assert home.listing() == {}


def test_version_is_the_packages() -> None:
    version = subprocess.check_output(
        [sys.executable, "-c", "import dream_runner; print(dream_runner.__version__)"],
        cwd=ROOT,
        text=True,
    ).strip()
    assert f"\nVERSION={version}\n" in (ROOT / "install.sh").read_text()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shell_scripts_pass_shellcheck() -> None:
    scripts = [ROOT / "install.sh", ROOT / ".ci" / "run", ROOT / "scripts" / "dream-runner"]
    scripts += sorted((ROOT / "scripts").glob("*.sh"))
    subprocess.run(["shellcheck", *scripts], check=True)


def test_remove_runner(ready: Home) -> None:
    """The last test, because nothing of ``ready`` is left."""
    before = [name for name in ready.listing() if "dream" in name]
    assert len(before) > 1000
    done = ready.install("--remove-runner")
    assert done.returncode == 0, done.stderr
    left = [name for name in ready.listing() if "dream" in name]
    assert left == []
