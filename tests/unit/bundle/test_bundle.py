"""A bundle is proved or refused: forty ways to break one, each exit code 7 and nothing written."""

import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry

from dream_runner.bundle import create, sbom
from dream_runner.module_utils.dream_core.bundle import contents
from dream_runner.module_utils.dream_core.errors import IntegrityError, UsageError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest
from unit.bundle.bad_bundles import BAD, BLOB, CONTENT, DIGEST, MODEL, exchanged, make, wanted


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make(tmp_path / "bundle")


def check(root: Path, signers: str = "") -> contents.Bundle:
    found = contents.inspect(str(root), signers)
    contents.verify(found)
    return found


def test_it_is_proved_by_coreutils_alone(made: Path) -> None:
    done = subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=made)
    assert done.returncode == 0
    assert check(made).manifest["models"][0]["id"] == "tiny"


def test_parts_for_fat_are_put_together_by_a_fetch(tmp_path: Path) -> None:
    root = make(tmp_path / "bundle", part_bytes=4096)
    assert sorted(item.name for item in (root / "blobs/sha256").iterdir()) == [
        f"{DIGEST}.{number:03d}" for number in range(3)
    ]
    check(root)
    target = tmp_path / "out.gguf"
    result = fetch(FetchRequest(str(target), DIGEST, (str(root),), len(CONTENT)))
    assert (target.read_bytes(), result.bytes_fetched) == (CONTENT, len(CONTENT))


def test_the_bill_of_materials_names_all_of_it(made: Path) -> None:
    document = json.loads((made / "sbom.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert {item.get("purl", item["name"]) for item in document["components"]} == {
        "tiny.gguf",
        "pkg:pypi/one@1.0",
        "pkg:deb/debian/libx@1%3A2-3",
    }
    assert all(item["hashes"][0]["alg"] == "SHA-256" for item in document["components"])
    assert len({item["bom-ref"] for item in document["components"]}) == 3
    found = contents.inspect(str(made))
    again = sbom.document(found.manifest, {**found.sums, "more": "0"})
    assert again["serialNumber"] != document["serialNumber"]


def schema(name: str) -> Any:
    """Return a schema of CycloneDX, as its own library brings it."""
    path = resources.files("cyclonedx.schema") / "_res" / f"{name}.SNAPSHOT.schema.json"
    return json.loads(path.read_text())


def test_the_bill_of_materials_keeps_the_schema(made: Path) -> None:
    parts = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema(name))
        for name in ("spdx", "jsf-0.82")
    ]
    registry: Registry[Any] = Registry().with_contents(parts)
    validator = jsonschema.Draft7Validator(
        schema("bom-1.5"), registry=registry, format_checker=jsonschema.FormatChecker()
    )
    found = contents.inspect(str(made))
    image = {"tag": "a/b:1", "archive": "images/a_b_1.tar", "digest": f"sha256:{'0' * 64}"}
    full = {**found.manifest, "images": [image]}
    document = sbom.document(full, {**found.sums, image["archive"]: "1" * 64})
    for each in (json.loads((made / "sbom.cdx.json").read_text()), document):
        assert [error.message for error in validator.iter_errors(each)] == []
    document["components"][0]["hashes"][0]["alg"] = "none"
    assert list(validator.iter_errors(document))


@pytest.mark.skipif(not shutil.which("mcopy"), reason="no mtools")
def test_it_survives_a_stick_with_fat(tmp_path: Path) -> None:
    """Copied to a real FAT32 and back: every name and byte is as it was."""
    root = make(tmp_path / "bundle", part_bytes=4096)
    stick = tmp_path / "stick"
    with stick.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    mkfs = shutil.which("mkfs.vfat", path=f"{os.environ['PATH']}:/usr/sbin")
    subprocess.run([str(mkfs), "-F", "32", str(stick)], check=True, capture_output=True)
    subprocess.run(["mcopy", "-s", "-i", str(stick), str(root), "::/"], check=True)
    (tmp_path / "back").mkdir()
    subprocess.run(
        ["mcopy", "-s", "-i", str(stick), "::/bundle", str(tmp_path / "back")], check=True
    )
    copy = tmp_path / "back" / "bundle"
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=copy).returncode == 0
    assert check(copy).sums == check(root).sums
    target = tmp_path / "out.gguf"
    fetch(FetchRequest(str(target), DIGEST, (str(copy),), len(CONTENT)))
    assert target.read_bytes() == CONTENT


# --- forty bad ones ---------------------------------------------------------------


def test_there_are_forty() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    root = make(tmp_path / "bundle")
    BAD[name](root)
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    with pytest.raises(IntegrityError) as caught:
        check(root)
    assert (caught.value.exit_code, caught.value.code) == (7, "BUNDLE_BROKEN")
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


#: Runs the command once for each case, in a child of its own: what it imports is paid for once.
COMMAND = """
import json, os, sys
from dream_runner.cli import app
from dream_runner.commands import bundle, install
for case in json.load(sys.stdin):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        handle = os.open(case["said"], os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.environ.update(case["environment"])
        sys.argv = ["dream-runner", *case["words"]]
        code = app.main()
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def everything(root: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*")
    )


def commands(cases: list[dict[str, Any]], folder: Path) -> list[tuple[int, str]]:
    """Run ``dream-runner`` with the words of each case; return exit codes and what was said."""
    folder.mkdir()
    for number, case in enumerate(cases):
        case["said"] = str(folder / str(number))
    given = json.dumps(cases)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], input=given, text=True, check=True, stdout=subprocess.PIPE
    )
    codes = map(int, done.stdout.split())
    return [(code, Path(case["said"]).read_text()) for code, case in zip(codes, cases, strict=True)]


def case_of(home: Path, *words: str) -> dict[str, Any]:
    home.mkdir(exist_ok=True)
    places = {name: str(home / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR")}
    return {"words": words, "environment": {"HOME": str(home), **places}}


def test_the_command_refuses_each_with_exit_code_7_and_writes_nothing(tmp_path: Path) -> None:
    """``bundle verify`` all of them; ``install`` those whose form is wrong, before it begins."""
    cases = []
    for number, (name, harm) in enumerate(BAD.items()):
        root = make(tmp_path / "bundles" / str(number))
        harm(root)
        home = tmp_path / "home"
        cases.append(case_of(home, "bundle", "verify", str(root), "--json"))
        # Altered bytes of the same length are found where they are used.
        if not name.startswith("bit flipped") or "bundle.json" in name:
            words = (
                "install",
                "--yes",
                "--profile",
                "native",
                "--model",
                "smoke",
                "--install-dir",
                f"{home}/dream",
            )
            cases.append(case_of(home, *words, "--offline", "--bundle", str(root), "--json"))
    before = everything(tmp_path / "bundles") + everything(tmp_path / "home")
    done = commands(cases, tmp_path / "said")
    assert len(done) > 80
    wrong = [
        (case["words"], code, said)
        for case, (code, said) in zip(cases, done, strict=True)
        if code != 7 or '"BUNDLE_BROKEN"' not in said
    ]
    assert wrong == []
    assert everything(tmp_path / "bundles") + everything(tmp_path / "home") == before


# --- signatures -----------------------------------------------------------------


def key(folder: Path, name: str) -> tuple[str, str]:
    """Return a new private key and the line that trusts it."""
    path = folder / name
    quiet = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path), "-C", name]
    subprocess.run(quiet, check=True)
    return str(path), f"{name}@example.org {path.with_suffix('.pub').read_text()}"


needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen")


@needs_ssh_keygen
def test_only_a_trusted_signature_counts(made: Path, tmp_path: Path) -> None:
    good, good_line = key(tmp_path, "good")
    other, _ = key(tmp_path, "other")
    signers = tmp_path / "signers"
    signers.write_text(good_line)

    def refused() -> str:
        with pytest.raises(IntegrityError) as caught:
            check(made, str(signers))
        assert (caught.value.exit_code, caught.value.code) == (7, "BUNDLE_SIGNATURE")
        return caught.value.what

    assert "not signed" in refused()
    contents.sign(str(made), other)
    assert "not listed" in refused()
    contents.sign(str(made), good)
    check(made, str(signers))
    exchanged(made)
    assert "is invalid" in refused()
    (made / "SHA256SUMS.sig").write_text("nonsense")
    refused()
    # The command says the same: with the file given, and with the one that the user keeps.
    home = tmp_path / "home"
    kept = home / ".config" / "dream-runner"
    kept.mkdir(parents=True)
    shutil.copy(signers, kept / "trusted-signers")
    cases = [
        case_of(home, "bundle", "verify", str(made), "--json", "--signers", str(signers)),
        case_of(home, "bundle", "verify", str(made), "--json"),
        case_of(home, "install", "--yes", "--offline", "--bundle", str(made), "--json"),
    ]
    before = everything(home)
    done = commands(cases, tmp_path / "said")
    assert [(code, '"BUNDLE_SIGNATURE"' in said) for code, said in done] == [(7, True)] * 3, done
    assert everything(home) == before


@needs_ssh_keygen
def test_a_signature_for_another_purpose_is_worth_nothing(made: Path, tmp_path: Path) -> None:
    good, line = key(tmp_path, "good")
    (tmp_path / "signers").write_text(line)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", good, "-n", "file", str(made / "SHA256SUMS")]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(IntegrityError):
        check(made, str(tmp_path / "signers"))


# --- making --------------------------------------------------------------------


def test_tiers_and_models_choose_what_goes_in() -> None:
    catalog = {
        "tiers": {"2": {"models": ["big"]}},
        "fast_start": {"model": "small"},
        "models": [{"id": name} for name in ("big", "small", "own")],
    }
    chosen = create.choose(wanted(Path("/x"), models=("own",)), catalog)
    assert [model["id"] for model in chosen] == ["own", "big"]
    assert [model["id"] for model in create.choose(wanted(Path("/x"), tiers=()), catalog)] == [
        "small"
    ]
    with pytest.raises(UsageError):
        create.choose(wanted(Path("/x"), tiers=("9",)), catalog)


def test_the_containers_of_the_full_profile_need_no_packages_of_open_webui(tmp_path: Path) -> None:
    asked = wanted(tmp_path, features=("webui",))
    with pytest.raises(UsageError) as caught:
        create.create(asked, {}, print)
    assert caught.value.code == "BUNDLE_FEATURE"


def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError) as caught:
        create.create(wanted(tmp_path), {}, print)
    assert caught.value.code == "BUNDLE_DIRECTORY"


def test_a_model_that_is_there_whole_or_in_parts_is_not_fetched_again(tmp_path: Path) -> None:
    root = make(tmp_path / "bundle", part_bytes=4096)
    item = dict(MODEL["files"][0])  # type: ignore[index]
    create.fetch_model(root, item, 4096, {}, None)
    (root / BLOB).write_bytes(CONTENT)  # killed while it was cut
    (root / f"{BLOB}.001").write_bytes(b"half")
    create.fetch_model(root, item, 4096, {}, None)
    assert not (root / BLOB).exists()
    assert b"".join((root / f"{BLOB}.{n:03d}").read_bytes() for n in range(3)) == CONTENT
