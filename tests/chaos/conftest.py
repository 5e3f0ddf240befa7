"""The sandbox of the chaos cases, and the command that plays a failed one again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.villain import Villain

from dream_runner.module_utils.dream_core.records import install_mark

from . import cases, places, sandbox, victims
from .cases import Case, Undisturbed
from .origin import SIZE, Origin
from .sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
#: How many of the occasional cases a sample has.
OCCASIONAL = 3


def pytest_report_header() -> str:
    kind = "every cell of every grid" if cases.FULL else "a sample of each grid"
    return f"chaos: seed {cases.SEED}, {cases.KILLS} random kills, {kind}"


def pytest_configure(config: pytest.Config) -> None:
    # Mounts and processes are taken down by whoever ends the session politely, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.pluginmanager.register(_AtOnce(config))
    config.addinivalue_line("markers", "occasional: a few of these run, by the seed; all with FULL")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out all but a few of the occasional cases; which ones follows from the seed."""
    rare = [item for item in items if item.get_closest_marker("occasional")]
    kept = cases.chosen(rare, OCCASIONAL)
    left_out = [item for item in rare if item not in kept]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line what the kills at random instants came to."""
    every = [dict(report.user_properties) for report in terminalreporter.stats.get("passed", [])]
    for profile in ("native", "full"):
        passed = [kill for kill in every if kill.get("profile") == profile]
        if passed:
            terminalreporter.write_line(_summary(profile, passed))


def _summary(profile: str, passed: list[dict[str, Any]]) -> str:
    seconds = sum(kill["seconds"] for kill in passed)
    worst = max(passed, key=lambda kill: kill["twice"])
    # Each was compared with an undisturbed install of its own sandbox and features.
    states = len({kill["state"] for kill in passed})
    return (
        f"chaos: {len(passed)} random kills of profile {profile} in {seconds:.0f} s, all repaired; "
        f"end states: {states}, each that of an undisturbed install; fetched twice at most "
        f"{worst['twice'] / 2**20:.2f} MiB (seed {worst['seed']}), "
        f"in all {sum(kill['twice'] for kill in passed) / 2**20:.1f} MiB"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed and Path(__file__).parent in item.path.parents:
        report.sections.append(("replay", _replay(item)))


class _AtOnce:
    """Shows a failure when it happens, not at the end: two hundred kills take hours."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Of several workers' cases only the process that started them may write.
        screen: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        replay = dict(report.sections).get("replay")
        if screen is not None and report.failed and replay:
            screen.write_line(f"\n{report.longreprtext}\n{report.capstdout}\n{replay}")


def _replay(item: pytest.Item) -> str:
    """Return the one command that plays this case again."""
    name = f"{item.path.name}::{item.nodeid.rpartition('::')[2]}"
    callspec = getattr(item, "callspec", None)
    drawn = callspec.params.get("seed") if callspec else None
    # A kill at a random instant is a seed by itself.
    kills = "full-kills" if "full" in item.name else "kills"
    seed = f"--seed {cases.SEED}" if drawn is None else f"--seed {drawn} --{kills} 1"
    return f"python -m tests.chaos {seed} '{name}'"


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[Undisturbed]:
    """A finished install in a sandbox of its own; made once for all cases."""
    places.sweep()
    kept = os.environ.get("DREAM_CHAOS_DIR")
    directory = Path(kept or tempfile.mkdtemp(prefix=f"{places.PREFIX}{os.getpid()}-"))
    # Two workers have a sandbox each.
    directory = directory / os.environ.get("PYTEST_XDIST_WORKER", "") if kept else directory
    directory.mkdir(parents=True, exist_ok=True)
    # One case runs as another user, who must be able to get here.
    directory.chmod(0o755)
    try:
        source = copy_of_checkout(directory / "source")
        box = Sandbox(directory, source)
        try:
            make_environment(box)
            box.wheels = wheels_of(source, directory / "wheels")
            reference = observe(box)
            box.save("finished")
            box.save("packages", only=(f"dream/{install_mark.NAME}", "dream/engine/venv"))
            yield reference
        finally:
            box.wipe()
    finally:
        if not kept:
            shutil.rmtree(directory)


def make_environment(box: Sandbox) -> None:
    """Let install.sh make the private environment; it has when the installer begins."""
    first = box.start(entry="install.sh")
    assert victims.wait_for_event(box, first, lambda event: True, 850), str(first)
    victims.kill(first)


@pytest.fixture(scope="session")
def fetching(undisturbed: Undisturbed, content: bytes) -> Iterator[tuple[Undisturbed, Origin]]:
    """An undisturbed install whose model comes from a server that counts."""
    box = undisturbed.sandbox
    with Villain(content, b"", rate=SIZE // 3) as server:
        origin = Origin.of(server)
        box.put_back("packages")
        yield observe(box, *origin.flags, wipe=False), origin


def observe(box: Sandbox, *flags: str, wipe: bool = True) -> Undisturbed:
    """Install once and remember everything."""
    if wipe:
        box.wipe()
    done = box.install(*flags)
    assert done.code == 0, str(done)
    reference = Undisturbed(box, done.seconds, box.state(), box.events(), flags)
    case = Case(reference, random.Random(0))
    case.check(box.secrets())
    case.check_rests()
    return reference


def copy_of_checkout(target: Path) -> Path:
    """Return a copy of the tree under test: nobody edits it while installs run.

    DREAM_CHAOS_SOURCE is another tree than this checkout.
    """
    shutil.rmtree(target, ignore_errors=True)
    other = os.environ.get("DREAM_CHAOS_SOURCE")
    if other:
        sandbox.copy_tree(Path(other), target)
        return target
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    )
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def wheels_of(source: Path, target: Path) -> Path:
    """Fetch the engine's packages once; every install of the session takes them from here."""
    if not target.is_dir():
        pins = source / "roles" / "services" / "files" / "engine-requirements.txt"
        command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(target), "-r", str(pins)], check=True)
    return target


@pytest.fixture
def case(undisturbed: Undisturbed, request: pytest.FixtureRequest) -> Iterator[Case]:
    """One case: what it draws follows from the seed and its name alone."""
    dice = random.Random(f"{cases.SEED} {request.node.name}")
    box = undisturbed.sandbox
    yield Case(undisturbed, dice)
    box.extra.clear()


@pytest.fixture(scope="session")
def content() -> bytes:
    """Return a model that answers: the one that ships, with noise behind its last tensor."""
    shipped = (ROOT / "dream_runner" / "catalog" / "smoke.gguf").read_bytes()
    return shipped + random.Random(11).randbytes(SIZE - len(shipped))


@pytest.fixture
def origin(content: bytes) -> Iterator[Origin]:
    """A server of that model, slow enough to be interrupted."""
    with Villain(content, b"", rate=SIZE // 6) as server:
        yield Origin.of(server)
