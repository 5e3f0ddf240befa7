"""A bundle is proved or refused: forty ways to break one, each exit code 7 and nothing written."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_runner.bundle import create, sbom
from dream_runner.module_utils.dream_core import bundle
from dream_runner.module_utils.dream_core.errors import IntegrityError, UsageError
from dream_runner.module_utils.dream_core.fetch import FetchRequest, fetch

CONTENT = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(320))
MODEL = {
    "id": "tiny",
    "name": "Tiny",
    "files": [
        {
            "file": "tiny.gguf",
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "size_bytes": len(CONTENT),
            "urls": ["https://host.invalid/tiny.gguf"],
        }
    ],
}
DIGEST = str(MODEL["files"][0]["sha256"])  # type: ignore[index]
BLOB = f"blobs/sha256/{DIGEST}"


def wanted(root: Path, **more: Any) -> create.Wanted:
    given = {"tiers": ("2",), "models": (), "features": (), "pythons": ("3.11",), "arch": "amd64"}
    return create.Wanted(str(root), "full", **{**given, **more})


def make(root: Path, part_bytes: int = 0) -> Path:
    """Make a small bundle as ``create`` does, of files that need no network."""
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / BLOB).write_bytes(CONTENT)
    if part_bytes:
        create._split(root / BLOB, part_bytes)
    (root / "wheels").mkdir()
    (root / "wheels" / "one-1.0-py3-none-any.whl").write_bytes(b"a wheel")
    (root / "debs").mkdir()
    (root / "debs" / "libx_1%3a2-3_amd64.deb").write_bytes(b"a package")
    create._seal(root, wanted(root), [MODEL], [])
    return root


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make(tmp_path / "bundle")


def check(root: Path, signers: str = "") -> bundle.Bundle:
    found = bundle.inspect(str(root), signers)
    bundle.verify(found)
    return found


def resum(root: Path, names: Callable[[str, str], str] = lambda name, digest: name) -> None:
    """Write the list anew, as somebody would who alters a bundle and is no fool."""
    lines = [
        line.split("  ", 1)
        for line in (root / "SHA256SUMS").read_text().splitlines()
        if (root / line.split("  ", 1)[1]).exists()
    ]
    text = ""
    for _, name in lines:
        digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
        text += f"{digest}  {names(name, digest)}\n"
    (root / "SHA256SUMS").write_text(text)


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
    found = bundle.inspect(str(made))
    again = sbom.document(found.manifest, {**found.sums, "more": "0"})
    assert again["serialNumber"] != document["serialNumber"]


# --- forty bad ones ---------------------------------------------------------------


def flip(name: str, where: float) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        data = bytearray((root / name).read_bytes())
        data[int(where * (len(data) - 1))] ^= 0x10
        (root / name).write_bytes(bytes(data))

    return harm


def cut(name: str, share: float) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return harm


def listed(name: str) -> Callable[[Path], None]:
    """List a name as if it was in the bundle."""

    def harm(root: Path) -> None:
        with (root / "SHA256SUMS").open("a") as stream:
            stream.write(f"{'0' * 64}  {name}\n")

    return harm


def linked(name: str, target: str) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(target)

    return harm


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        document = json.loads((root / "bundle.json").read_text())
        change(document)
        (root / "bundle.json").write_text(json.dumps(document))
        resum(root)

    return harm


def exchanged(root: Path) -> None:
    (root / BLOB).write_bytes(bytes(reversed(CONTENT)))
    resum(root)


BAD: dict[str, Callable[[Path], None]] = {
    **{
        f"bit flipped in {name} at {where}": flip(name, where)
        for name in (BLOB, "wheels/one-1.0-py3-none-any.whl", "sbom.cdx.json", "bundle.json")
        for where in (0.0, 0.5, 1.0)
    },
    **{
        f"{name} cut to {share}": cut(name, share)
        for name in (BLOB, "debs/libx_1%3a2-3_amd64.deb", "bundle.json", "SHA256SUMS")
        for share in (0.0, 0.7)
    },
    **{
        f"listed: {name!r}": listed(name)
        for name in (
            *("../evil", "/etc/passwd", "wheels/../../evil", "a//b", "./x", "-x/../y", ".hidden"),
            *("wheels\\..\\evil", "C:evil", "a b", "a\tb", "wheels/", "x" * 10 + "/.."),
            *("WHEELS/one-1.0-py3-none-any.whl", "wheels/one-1.0-py3-none-any.whl"),
        )
    },
    "a link in place of a file": linked(BLOB, "/etc/passwd"),
    "a link in place of a directory": linked("wheels", "/tmp"),
    "a link to itself": linked("wheels/one-1.0-py3-none-any.whl", "one-1.0-py3-none-any.whl"),
    "the list is a link": linked("SHA256SUMS", "/etc/passwd"),
    "the manifest is a link": linked("bundle.json", "/etc/passwd"),
    "an additional link": linked("extra", "/etc"),
    "a file in no list": lambda root: (root / "extra").write_text("x") and None,  # type: ignore[dict-item]
    "a pipe": lambda root: os.mkfifo(root / "pipe"),
    "a model exchanged, and the list written anew": exchanged,
    "no list": lambda root: (root / "SHA256SUMS").unlink(),
    "no manifest": lambda root: (root / "bundle.json").unlink(),
    "another schema": manifest(lambda document: document.update(schema="x/9")),
    "a model that is not in it": manifest(
        lambda document: document["models"][0]["files"][0].update(sha256="1" * 64)
    ),
    "a digest that leads outside": manifest(
        lambda document: document["models"][0]["files"][0].update(sha256="../../etc/passwd")
    ),
    "other sizes": manifest(lambda document: document["sizes"].update({BLOB: 1})),
    "sizes of other files": manifest(lambda document: document["sizes"].update(x=1)),
    "no models": manifest(lambda document: document.pop("models")),
    "not an object": lambda root: (root / "bundle.json").write_text("[]") and resum(root),  # type: ignore[func-returns-value]
}


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
    bundle.sign(str(made), other)
    assert "none of those" in refused()
    bundle.sign(str(made), good)
    check(made, str(signers))
    exchanged(made)
    assert "does not fit" in refused()
    (made / "SHA256SUMS.sig").write_text("nonsense")
    refused()


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
        "models": [{"id": name} for name in ("big", "smoke", "own")],
    }
    chosen = create.choose(wanted(Path("/x"), models=("own",)), catalog)
    assert [model["id"] for model in chosen] == ["own", "big"]
    assert [model["id"] for model in create.choose(wanted(Path("/x"), tiers=()), catalog)] == [
        "smoke"
    ]
    with pytest.raises(UsageError):
        create.choose(wanted(Path("/x"), tiers=("9",)), catalog)


def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError) as caught:
        create._directory(str(tmp_path))
    assert caught.value.code == "BUNDLE_DIRECTORY"


def test_a_model_that_is_there_whole_or_in_parts_is_not_fetched_again(tmp_path: Path) -> None:
    root = make(tmp_path / "bundle", part_bytes=4096)
    item = dict(MODEL["files"][0])  # type: ignore[index]
    create._fetch_model(root, item, 4096, {}, None)
    (root / BLOB).write_bytes(CONTENT)  # killed while it was cut
    (root / f"{BLOB}.001").write_bytes(b"half")
    create._fetch_model(root, item, 4096, {}, None)
    assert not (root / BLOB).exists()
    assert b"".join((root / f"{BLOB}.{n:03d}").read_bytes() for n in range(3)) == CONTENT
