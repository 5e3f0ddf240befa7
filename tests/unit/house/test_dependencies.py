"""Each dependency has its row in docs/developer/dependencies.md, with the version of the lock."""

import re
import tomllib

from dream_runner import paths

ROOT = paths.PACKAGE.parent
PAGE = ROOT / "docs" / "developer" / "dependencies.md"
_ROW = re.compile(r"^\| ([A-Za-z][\w.-]+) \| ([^|]+) \| ([^|]+) \| (\d{4}-\d\d-\d\d) \|", re.M)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted() -> set[str]:
    """Return what pyproject.toml names: to run, to test, to build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = project["project"]["dependencies"] + project["build-system"]["requires"]
    for extra in project["project"]["optional-dependencies"].values():
        named += extra
    return {plain(re.split(r"[^\w.-]", item)[0]) for item in named}


def locked() -> dict[str, str]:
    pins = (ROOT / "requirements-dev.lock").read_text()
    return {
        plain(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", pins, re.MULTILINE)
    }


def rows() -> dict[str, str]:
    return {plain(name): version for name, _, version, _ in _ROW.findall(PAGE.read_text())}


def test_every_dependency_has_its_row() -> None:
    assert rows().keys() == wanted()


def test_the_rows_have_the_versions_of_the_lock() -> None:
    pins = locked()
    stale = {name: pins[name] for name, version in rows().items() if pins[name] != version}
    assert stale == {}, "correct version and release date in docs/developer/dependencies.md"


def test_the_number_of_packages_at_run_time() -> None:
    pins = re.findall(r"^[\w.-]+==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert f"{len(pins)} packages, each pinned" in PAGE.read_text()
