"""A new version that permanently changes data has to be accepted; a downgrade is refused."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dream_runner import catalog
from dream_runner.commands import install
from dream_runner.commands import plan as plan_command
from dream_runner.machine import target
from dream_runner.module_utils.dream_core.checks import finding, versions
from dream_runner.module_utils.dream_core.containers.references import name_of
from dream_runner.module_utils.dream_core.errors import RequirementError
from dream_runner.module_utils.dream_core.records import inputs
from dream_runner.module_utils.dream_core.records.receipt import begin, identity
from dream_runner.settings import answers
from dream_runner.settings.values import Given
from unit.decide.decided import choose

WEBUI, N8N = "ghcr.io/open-webui/open-webui", "n8nio/n8n"
PINS = catalog.read_lock(catalog.HERE / catalog.LOCK)


def ran(**tags: str) -> dict[str, Any]:
    """Return receipts of today's form, by service and tag."""
    return {"images": {"facts": {"versions": {k.replace("_", "-"): v for k, v in tags.items()}}}}


def contained(**images: str) -> dict[str, Any]:
    """Return receipts of an earlier version, which recorded the containers only."""
    resources = [
        {
            "kind": "container",
            "project": "dream-runner",
            "service": name.replace("_", "-"),
            "seen": {"present": True, "image": image},
        }
        for name, image in images.items()
    ]
    return {"services": {"resources": resources}, "images": {"facts": {"images": []}}}


def pinned(tag: str) -> str:
    return f"{tag.rsplit(':', 1)[0]}@{PINS[tag]['digest']}"


def changes(receipts: dict[str, Any], **settings: Any) -> dict[str, tuple[str, str, str]]:
    found = choose(receipts=receipts, **settings)["data_changes"]
    return {item["service"]: (item["from"], item["to"], item["kind"]) for item in found}


TO_WEBUI, TO_N8N = ("v0.7.2", "v0.11.4", "migration"), ("2.6.4", "2.41.6", "migration")


@pytest.mark.parametrize(
    "receipts",
    [
        pytest.param(ran(open_webui=f"{WEBUI}:v0.7.2", n8n=f"{N8N}:2.6.4"), id="recorded"),
        pytest.param(
            contained(open_webui=pinned(f"{WEBUI}:v0.7.2"), n8n=pinned(f"{N8N}:2.6.4")),
            id="known by the digests of the shipped lock",
        ),
    ],
)
def test_the_versions_of_an_older_installation_are_known(receipts: dict[str, Any]) -> None:
    assert changes(receipts) == {"open-webui": TO_WEBUI, "n8n": TO_N8N}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({}, {}),
        ({"open_webui": f"{WEBUI}:v0.11.4", "n8n": f"{N8N}:2.41.6"}, {}),
        # No step between them changes the form of the data.
        ({"open_webui": f"{WEBUI}:v0.8.0"}, {}),
        ({"open_webui": f"{WEBUI}:v0.7.99"}, {"open-webui": ("v0.7.99", "v0.11.4", "migration")}),
        ({"n8n": f"{N8N}:2.41.5"}, {"n8n": ("2.41.5", "2.41.6", "migration")}),
        ({"n8n": f"{N8N}:2.42.0"}, {"n8n": ("2.42.0", "2.41.6", "downgrade")}),
        ({"open_webui": f"{WEBUI}:v0.12.0"}, {"open-webui": ("v0.12.0", "v0.11.4", "downgrade")}),
        ({"qdrant": "qdrant/qdrant:v1.16.2"}, {}),
        ({"qdrant": "qdrant/qdrant:v1.17.0"}, {"qdrant": ("v1.17.0", "v1.16.3", "downgrade")}),
        # These keep no data of such a form.
        ({"llama_server": "ghcr.io/ggml-org/llama.cpp:server-b9999"}, {}),
        ({"searxng": "searxng/searxng:2026.12.1-abc"}, {}),
        # Neither is a version that can be compared.
        ({"n8n": f"{N8N}:latest"}, {"n8n": ("latest", "2.41.6", "migration")}),
        ({"n8n": ""}, {"n8n": ("", "2.41.6", "migration")}),
        # Another image in its place has no version of this one.
        ({"n8n": "example.org/other:1"}, {}),
    ],
)
def test_what_a_change_of_version_does(before: dict[str, str], expected: Any) -> None:
    assert changes(ran(**before)) == expected


def test_a_digest_that_nobody_knows_is_asked_about() -> None:
    receipts = contained(n8n=f"{N8N}@sha256:{'0' * 64}", tts="x@sha256:1")
    assert changes(receipts) == {"n8n": ("", "2.41.6", "migration")}


def test_an_image_of_a_bundle_is_known_by_its_id_and_its_manifest() -> None:
    ids = {"id": "sha256:" + "1" * 64, "manifest": "sha256:" + "2" * 64, "archive": "images/x"}
    lock = {**PINS, f"{N8N}:2.6.4": ids}
    for name in (ids["id"], ids["manifest"]):
        assert changes(contained(n8n=name), lock=lock) == {"n8n": TO_N8N}


def test_a_feature_that_is_off_changes_nothing_and_is_remembered() -> None:
    before = ran(n8n=f"{N8N}:2.6.4")
    assert changes(before, workflows="no") == {}
    assert changes(before, workflows="yes") == {"n8n": TO_N8N}


@pytest.mark.parametrize(
    ("tag", "number"),
    [
        ("a/b:v0.11.4", (0, 11, 4)),
        ("postgres:17.9-alpine", (17, 9)),
        ("minio/minio:RELEASE.2025-09-07T16-13-09Z", (2025, 9, 7)),
        ("host:5000/a/b:cpu-1.9.1", (1, 9, 1)),
        ("a/b:0.9.0-rc.3-cpu", (0, 9, 0)),
        ("a/b:server-b9014", (9014,)),
        ("a/b:latest", ()),
        ("host:5000/a/b", ()),
    ],
)
def test_the_version_of_a_tag(tag: str, number: Any) -> None:
    assert versions.number(tag) == number


def test_after_an_uninstall_no_version_is_remembered() -> None:
    """The way back: uninstall keeps the data, a copy of an older version takes its place."""
    removed = {"images": {"state": "removed", "facts": {}}, "services": {"resources": []}}
    assert changes(removed) == {}


def test_every_store_of_the_catalogue_says_what_its_data_does() -> None:
    """A service with a database cannot be left out of the list by accident."""
    services = {item["id"]: item for item in catalog.load().services["services"]}
    stores = {name for name, item in services.items() if "migrates" in item}
    kept = {
        name
        for name, item in services.items()
        if any(
            volume["kind"] == "data" and not volume["source"].startswith("data/models")
            for volume in item.get("volumes", ())
        )
    }
    # langfuse keeps its own in the databases beside it.
    assert stores == kept | {"langfuse"}
    for name in stores:
        assert versions.number(services[name]["image"]), name


def test_what_an_older_version_ran_stays_ours() -> None:
    """Lemonade and Perplexica left the catalogue; uninstall still removes their resources."""
    former: list[dict[str, Any]] = [
        {"kind": "image", "reference": f"{name_of(tag)}@{entry['digest']}", "also": ""}
        for tag, entry in PINS.items()
        if entry.get("former")
    ]
    former += [{"kind": "container", "project": "dream-runner", "service": "perplexica"}]
    for name in ("perplexica-data", "lemonade-cache"):
        former.append({"kind": "volume", "name": f"dream-runner_{name}"})
    made = [{**item, "origin": "made"} for item in former]
    before = {"schema": 2, "phase": "services", "state": "done", "resources": made}
    now = choose("amd")["stack"]["resources"]
    wanted = [*now["images"], *now["services"]]
    exists = [False] * len(wanted)
    after = begin(before, phase="services", resources=wanted, exists=exists, stamp={})
    ours = {identity(item): item["origin"] for item in after["resources"]}
    assert len(former) > 8
    assert [ours[identity(item)] for item in made] == ["made"] * len(made)


# --- the user's word ---------------------------------------------------------------------


def findings(**tags: str) -> Any:
    return versions.findings(choose(receipts=ran(**tags))["data_changes"], "/srv/ai")


def test_a_migration_can_be_accepted_and_a_downgrade_cannot() -> None:
    forward = findings(open_webui=f"{WEBUI}:v0.7.2", n8n=f"{N8N}:2.6.4")
    error = finding.error_of(forward)
    assert error is not None
    assert (error.code, error.exit_code) == ("MIGRATION_NEEDED", 3)
    assert "open-webui v0.7.2 -> v0.11.4, n8n 2.6.4 -> 2.41.6" in error.what
    assert "--accept migration" in error.hint
    assert finding.error_of(forward, ["migration"]) is None
    back = findings(n8n=f"{N8N}:3.0.0")
    for accept in ([], ["migration", "downgrade"]):
        error = finding.error_of(back, accept)
        assert error is not None
        assert error.code == "DOWNGRADE_REFUSED"
    both = finding.error_of(findings(open_webui=f"{WEBUI}:v0.7.2", n8n=f"{N8N}:3.0.0"))
    assert both is not None
    assert "--accept downgrade" not in both.hint


def test_the_word_and_the_change_are_no_input_of_a_phase() -> None:
    """Otherwise the run after a migration would run every phase again."""
    before, after = (
        inputs.values({"accept": accept}, {"data_changes": moves}, {}, {})
        for accept, moves in ((["memory", "migration"], [{"service": "n8n"}]), (["memory"], []))
    )
    assert before == after


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    folder = tmp_path / ".local" / "state" / "dream-runner" / "receipts"
    folder.mkdir(parents=True)
    document = {
        "schema": 2,
        "phase": "images",
        "state": "done",
        "version": "0.0.9",
        "run_id": "r",
        "install_dir": str(tmp_path / "ai-server"),
        "started_at": "2026-11-01T12:00:00Z",
        "finished_at": "2026-11-01T12:01:00Z",
        "facts": ran(n8n=f"{N8N}:2.6.4")["images"]["facts"],
        "inputs": {},
        "resources": [],
    }
    (folder / "images.json").write_text(json.dumps(document))
    return tmp_path


FULL = {"profile": Given("full", "--profile", "flag")}
WORD = {"accept": Given(["migration"], "--accept", "flag")}


def test_the_plan_says_it_with_what_to_type(home: Path) -> None:
    for flags, end in ((FULL, "needs --accept migration"), ({**FULL, **WORD}, "(accepted)")):
        plan, _ = plan_command.run(flags, None, os.environ)
        line = "Data:        n8n 2.6.4 -> 2.41.6 permanently changes its data"
        (found,) = (text for text in plan_command.as_text(plan).splitlines() if line in text)
        assert found.endswith(end)


def installed(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Given], error: Any = None
) -> list[Any]:
    """Install with an empty playbook; return the variables that it was given."""
    given: list[Any] = []

    def follow(request: Any, *_: Any, **__: Any) -> Any:
        given.append(request.variables["dream_accept"])
        return install.Result(1, False, error)

    monkeypatch.setattr(install.privilege, "require_possible_root", lambda *_, **__: None)
    monkeypatch.setattr(install.privilege, "become_password", lambda *_, **__: None)
    listener: Any = SimpleNamespace(note=lambda *_: None, take=lambda *_: None)
    options = install.Options(install.resume.Wish(yes=True))
    install.run(flags, None, os.environ, options, listener, follow=follow)
    return given


def saved(home: Path) -> Any:
    found, _ = answers.read_saved(str(home / ".local" / "state" / "dream-runner"))
    return found.values.get("accept", [])


def test_install_refuses_before_it_begins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequirementError) as caught:
        installed(monkeypatch, FULL)
    assert caught.value.code == "MIGRATION_NEEDED"
    assert str(home / "ai-server") in caught.value.hint


def test_the_word_lasts_until_the_work_is_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that stopped continues without --accept; the next migration needs it again."""
    word = {"accept": Given(["migration", "memory"], "--accept", "flag")}
    broken = RequirementError("stopped", code="STOPPED")
    assert installed(monkeypatch, {**FULL, **word}, broken) == [["migration", "memory"]]
    assert saved(home) == ["migration", "memory"]
    assert installed(monkeypatch, FULL) == [["migration", "memory"]]
    assert saved(home) == ["memory"]


def test_an_empty_list_is_no_choice(home: Path) -> None:
    settings = target.read_settings({**FULL, **WORD}, None, os.environ).settings
    left = settings.without("accept", "migration")
    assert "accept" not in left.said()
    assert dataclasses.replace(left) == left
