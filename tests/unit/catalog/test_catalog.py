"""The catalogue is whole, and what is wrong with one is said all at once."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest
import yaml

from dream_runner import catalog
from dream_runner.module_utils.dream_core.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    for name in catalog.PARTS:
        shutil.copy(catalog.HERE / f"{name}.yml", tmp_path)
    return tmp_path


def change(folder, part, edit):
    path = folder / f"{part}.yml"
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def problems(folder):
    with pytest.raises(UsageError) as caught:
        catalog.load(folder)
    assert caught.value.code == "CATALOG_INVALID"
    return caught.value.what


def test_the_shipped_catalogue_is_valid():
    parts = catalog.load()
    assert catalog.breaches({name: getattr(parts, name) for name in catalog.PARTS}) == []
    assert len(parts.models["models"]) == 22
    assert parts.tiers["tolerance_percent"] == 2


def test_the_shipped_lock_is_valid():
    lock = json.loads((catalog.HERE / catalog.LOCK).read_text())
    assert catalog.schema_errors(lock, "images.lock") == []


def test_every_image_of_the_catalogue_is_pinned():
    """The release has every digest: one image without a digest stops every install."""
    pins = catalog.read_lock(catalog.HERE / catalog.LOCK)
    wanted = set(catalog.image_tags(catalog.load().services))
    assert wanted - set(pins) == set()
    for tag in wanted:
        assert {"digest", "kind", "sources"} <= pins[tag].keys(), tag
        assert "former" not in pins[tag], tag


def test_the_shipped_lock_has_only_what_is_or_was_in_the_catalogue():
    pins = catalog.read_lock(catalog.HERE / catalog.LOCK)
    wanted = set(catalog.image_tags(catalog.load().services))
    assert {tag for tag, entry in pins.items() if not entry.get("former")} == wanted
    former = {tag for tag, entry in pins.items() if entry.get("former")}
    assert {"ghcr.io/open-webui/open-webui:v0.7.2", "n8nio/n8n:2.6.4"} <= former


def test_no_tag_of_the_catalogue_follows_a_branch():
    for tag in catalog.image_tags(catalog.load().services):
        assert re.search(r"[:-][A-Za-z.]*\d", tag.rsplit("/", 1)[-1]), tag
        assert "latest" not in tag


def test_it_is_read_once():
    assert catalog.load() is catalog.load()


def test_a_site_can_replace_one_part(tmp_path):
    shutil.copy(catalog.HERE / "models.yml", tmp_path)
    change(tmp_path, "models", lambda content: content["models"][0].update(name="Ours"))
    found = catalog.load(tmp_path)
    assert found.models["models"][0]["name"] == "Ours"
    assert found.tiers == catalog.load().tiers


def test_every_file_is_pinned_or_a_known_gap_says_what_it_lacks():
    loaded = catalog.load().models
    gaps = {item["model"]: set(item["lacks"]) for item in loaded["known_gaps"]}
    for model in loaded["models"]:
        found = set()
        for file in model["files"]:
            assert len(file["sha256"]) == 64
            assert file["urls"]
            found |= catalog.lacks(file)
        assert found == gaps.get(model["id"], set()), model["id"]
    # What every tier falls back to has no gap.
    assert not gaps.keys() & set(loaded["fallback"])


def test_no_planning_figure_is_below_the_exact_size():
    for model in catalog.load().models["models"]:
        sizes = [file["size_bytes"] for file in model["files"]]
        assert not all(sizes) or model["size_mb"] * 1024**2 >= sum(sizes), model["id"]


def test_the_smoke_model_is_the_file_that_is_shipped():
    data = (catalog.HERE / "smoke.gguf").read_bytes()
    entry = next(m for m in catalog.load().models["models"] if m["id"] == "smoke")
    (file,) = entry["files"]
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert file["size_bytes"] == len(data)
    assert json.loads((catalog.HERE / "smoke.gguf.json").read_text())["sha256"] == file["sha256"]


def test_all_errors_of_all_parts_come_at_once(folder):
    change(folder, "models", lambda c: c["models"][1]["files"][0].pop("sha256"))
    change(folder, "models", lambda c: c["models"][2].update(size_mb="big"))
    change(folder, "tiers", lambda c: c["rules"][0].update(backend="voodoo"))
    text = problems(folder)
    assert "models.yml: models.smoke.files.0: 'sha256' is a required property" in text
    assert "models.yml: models.qwen3.5-2b-q4.size_mb: 'big' is not of type 'integer'" in text
    assert "tiers.yml: rules.nvidia_ultra.backend: 'voodoo'" in text


@pytest.mark.parametrize(
    ("part", "edit", "text"),
    [
        ("models", lambda c: c["tiers"]["1"]["models"].append("x"), "tier 1: model x does not"),
        ("models", lambda c: c["tiers"].pop("ARC"), "a plan for tier ARC does not exist"),
        ("models", lambda c: c["tiers"].update(Z=c["tiers"]["1"]), "tier Z does not exist"),
        (
            "models",
            lambda c: c["models"].append(c["models"][0]),
            "model smollm2-135m-q4 is defined twice",
        ),
        ("tiers", lambda c: c["rules"][0].update(tier="Z9"), "nvidia_ultra: tier Z9 does not"),
        ("tiers", lambda c: c["rules"].pop(), "a cpu host below rule cpu_small would match no"),
        ("tiers", lambda c: c["tiers"].append(c["tiers"][0]), "tier 0 is defined twice"),
        (
            "models",
            lambda c: c["known_gaps"].pop(0),
            "phi4-mini-q4 has no commit and no entry in known_gaps",
        ),
        (
            "models",
            lambda c: c["models"][2]["files"][0].update(size_bytes=None),
            "qwen3.5-2b-q4 has no size_bytes and no entry in known_gaps",
        ),
        (
            "models",
            lambda c: c["known_gaps"].append({**c["known_gaps"][0], "model": "qwen3.5-2b-q4"}),
            "known_gaps: qwen3.5-2b-q4 has its commit",
        ),
        (
            "services",
            lambda c: c["services"][1].update(depends_on={"ghost": "healthy"}),
            "open-webui: depends_on ghost does not exist",
        ),
        (
            "services",
            lambda c: c["services"][1]["ports"][0].update(host=11434),
            "host port 11434 is defined twice",
        ),
        (
            "services",
            lambda c: c["services"][0]["variants"]["amd_rocm"]["environment"].update(
                HSA_OVERRIDE_GFX_VERSION="11.5.1"
            ),
            "HSA_OVERRIDE_GFX_VERSION",
        ),
    ],
)
def test_what_no_schema_sees_is_found_too(folder, part, edit, text):
    change(folder, part, edit)
    assert text in problems(folder)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a: [", "while parsing"),
        ("schema: dream-runner.models/1\nschema: x\n", "is a duplicate key"),
        ("", "is not of type 'object'"),
        ("[1]", "is not of type 'object'"),
        ("schema: dream-runner.models/2\n", "was expected"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(folder, content, text):
    (folder / "models.yml").write_text(content)
    assert text in problems(folder)


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / "tiers.yml").write_bytes(b"\xff\xfe")
    assert "tiers.yml" in problems(folder)


def test_services_that_are_not_included_say_why():
    services = catalog.load().services
    assert {item["id"] for item in services["not_included"]} >= {"dashboard", "dashboard-api"}
    included = {service["id"] for service in services["services"]}
    assert not included & {item["id"] for item in services["not_included"]}


def test_no_probe_of_a_service_goes_by_name():
    for service in catalog.load().services["services"]:
        url = service.get("healthcheck", {}).get("url", "http://127.0.0.1:1/")
        assert "localhost" not in url
