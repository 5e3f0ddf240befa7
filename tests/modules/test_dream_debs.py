"""Which packages of a bundle are installed: what is missing with its needs, all of it proved."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.bundle import contents
from dream_runner.module_utils.dream_core.packages.bundle_debs import Deb, choose, relations

from .conftest import Run

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg")


def newer(one: str, operator: str, other: str) -> bool:
    assert operator == ">="
    return int(one or 0) >= int(other)


def deb(name: str, needs: str = "", provides: tuple[str, ...] = ()) -> dict[str, Deb]:
    return {name: Deb(f"/b/{name}.deb", relations(needs), provides)}


@pytest.mark.parametrize(
    ("names", "debs", "installed", "paths", "absent"),
    [
        pytest.param(["a"], deb("a"), {}, ["a"], [], id="itself"),
        pytest.param(["a"], {}, {}, [], ["a"], id="not in the bundle"),
        pytest.param([], deb("a"), {}, [], [], id="nothing is missing"),
        pytest.param(["a"], deb("a", "b") | deb("b"), {}, ["a", "b"], [], id="with its needs"),
        pytest.param(["a"], deb("a", "b") | deb("b"), {"b": "1"}, ["a"], [], id="need is here"),
        pytest.param(
            *(["a"], deb("a", "b (>= 2)") | deb("b"), {"b": "1"}, ["a", "b"], []), id="too old"
        ),
        pytest.param(
            *(["a"], deb("a", "b (>= 2)") | deb("b"), {"b": "2"}, ["a"], []), id="new enough"
        ),
        pytest.param(["a"], deb("a", "b | c") | deb("c"), {}, ["a", "c"], [], id="alternative"),
        pytest.param(["a"], deb("a", "b | c") | deb("b"), {"c": "1"}, ["a"], [], id="one is here"),
        pytest.param(
            *(["a"], deb("a", "v") | deb("p", "", ("v",)), {}, ["a", "p"], []), id="provided"
        ),
        pytest.param(["a"], deb("a", "b") | deb("b", "a"), {}, ["a", "b"], [], id="a ring"),
        pytest.param(["a"], deb("a", "gone"), {}, ["a"], [], id="a need that apt shall judge"),
        pytest.param(["a"], deb("a") | deb("other"), {}, ["a"], [], id="no more than needed"),
    ],
)
def test_the_files_are_the_missing_ones_and_what_they_need(
    names: list[str],
    debs: dict[str, Deb],
    installed: dict[str, str],
    paths: list[str],
    absent: list[str],
) -> None:
    chosen = choose(names, debs, installed, newer)
    assert chosen.paths == [f"/b/{name}.deb" for name in paths]
    assert chosen.absent == absent


def test_relations_are_read_as_dpkg_writes_them() -> None:
    assert relations("a:any (>= 1:2.3~x), b | c (= 2), ") == [
        [("a", ">=", "1:2.3~x")],
        [("b", "", ""), ("c", "=", "2")],
    ]
    assert relations("") == []


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A bundle with two packages that no machine has, of which one needs the other and libc6."""
    root = tmp_path / "b"
    (root / "debs").mkdir(parents=True)
    for name, needs in (("dream-test-a", "libc6, dream-test-b"), ("dream-test-b", "libc6")):
        control = tmp_path / name / "DEBIAN"
        control.mkdir(parents=True)
        (control / "control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nDepends: {needs}\n"
            "Maintainer: nobody <nobody@example.org>\nDescription: a test\n"
        )
        target = root / "debs" / f"{name}_1_all.deb"
        command = ["dpkg-deb", "--root-owner-group", "--build", str(control.parent), str(target)]
        subprocess.run(command, check=True, capture_output=True)
    seal(root)
    return root


def seal(root: Path) -> None:
    names = sorted(f"debs/{path.name}" for path in (root / "debs").iterdir())
    document: dict[str, Any] = {"schema": contents.SCHEMA, "models": [], "debs": names}
    document["sizes"] = {name: (root / name).stat().st_size for name in names}
    (root / contents.MANIFEST).write_text(json.dumps(document))
    lines = [
        f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n"
        for name in (*names, contents.MANIFEST)
    ]
    (root / contents.SUMS).write_text("".join(lines))


@needs_dpkg
def test_files_are_found_by_what_they_say_of_themselves(made: Path, run_module: Run) -> None:
    for check in (True, False):
        done = run_module("dream_debs", check=check, names=["dream-test-a", "no"], bundle=str(made))
        assert done["changed"] is False
        assert [Path(path).name for path in done["paths"]] == [
            "dream-test-a_1_all.deb",
            "dream-test-b_1_all.deb",
        ]
        assert done["absent"] == ["no"]


@needs_dpkg
def test_a_package_that_somebody_altered_is_never_handed_on(made: Path, run_module: Run) -> None:
    path = made / "debs" / "dream-test-b_1_all.deb"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    done = run_module("dream_debs", names=["dream-test-a"], bundle=str(made))
    assert done["failed"] is True
    assert done["dream_error"]["code"] == "BUNDLE_BROKEN"


@pytest.mark.parametrize("with_bundle", [True, False])
@needs_dpkg
def test_offline_what_is_missing_is_named(made: Path, with_bundle: bool, run_module: Run) -> None:
    root = str(made) if with_bundle else ""
    done = run_module("dream_debs", names=["no"], bundle=root, offline=True)
    assert done["dream_error"]["code"] == "OFFLINE_ARTEFACT_MISSING"
    assert "no" in done["msg"]
