"""``facts`` and ``explain``: captures written and replayed, and words for people."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from dream_runner import catalog
from dream_runner.commands import facts as command
from dream_runner.module_utils.dream_core.errors import UsageError
from unit.facts.replay import FOLDER, NAMES

CATALOG = catalog.load()


def replay(name):
    return command.run("", from_capture=str(FOLDER / f"{name}.yml"))


def shown(renderable, width=100):
    console = Console(width=width, no_color=True, file=None)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_a_capture_of_this_machine_replays_to_its_facts(tmp_path):
    path = str(tmp_path / "capture.yml")
    command.write_capture(path)
    here = command.run(str(tmp_path / "state"), force=True).document
    there = command.run("", from_capture=path).document
    for name in ("arch", "backend", "memory", "cpu", "page_size_bytes", "init"):
        assert there[name] == here[name]


def test_this_machine_is_cached(tmp_path):
    assert command.run(str(tmp_path)).source == "gathered"
    assert command.run(str(tmp_path)).source == "cache"


def test_a_json_capture_is_read_too(tmp_path):
    path = tmp_path / "capture.json"
    path.write_text(json.dumps(command.read_capture(str(FOLDER / "cpu-64gb.yml"))))
    assert command.run("", from_capture=str(path)).document["memory"]["total_mb"] == 64128


@pytest.mark.parametrize(
    "content", ["", "[]", "a: [", "schema: other/1", "!!python/object:os.system x", "\x00"]
)
def test_what_is_no_capture_is_refused(tmp_path, content):
    path = tmp_path / "capture.yml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        command.run("", from_capture=str(path))
    assert caught.value.code == "CAPTURE_INVALID"


def test_a_missing_capture_is_refused(tmp_path):
    with pytest.raises(UsageError):
        command.run("", from_capture=str(tmp_path / "none.yml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_host_can_be_shown_and_explained(name):
    facts = replay(name)
    explanation = command.explain(facts, CATALOG)
    text = shown(command.as_table(facts)) + shown(command.explanation_as_table(explanation))
    assert "None" not in text
    for finding in facts.document["findings"]:
        assert finding["id"] in text
    json.dumps([command.as_json(facts), command.explanation_as_json(explanation)])


def test_the_table_names_gpu_memory_and_use():
    text = shown(command.as_table(replay("hybrid-intel-igpu-rtx4060")), 140)
    assert "NVIDIA GeForce RTX 4060 Laptop GPU" in text
    assert "8188 MB" in text
    assert "no: INTEGRATED_GPU_UNUSED" in text


def test_unknown_is_said_in_words():
    text = shown(command.as_table(replay("intel-battlemage-unknown")), 140)
    assert "unknown" in text
    assert "unknown MB" not in text


def test_a_name_is_shown_as_it_is(tmp_path):
    capture = command.read_capture(str(FOLDER / "amd-rx7600.yml"))
    capture["pci"][0]["amd"]["product_name"] = "[bold]Navi[/x] \u202e33"
    path = tmp_path / "capture.json"
    path.write_text(json.dumps(capture))
    text = shown(command.as_table(command.run("", from_capture=str(path))), 140)
    assert "[bold]Navi[/x] 33" in text


def test_explain_says_the_rule_the_next_one_and_the_change():
    explanation = command.explain(replay("nvidia-rtx4090-24gb"), CATALOG)
    text = shown(command.explanation_as_table(explanation), 140)
    assert "by rule nvidia_pro" in text
    assert "tier 4 (rule nvidia_enterprise): 40960 MB of GPU memory" in text


def test_explain_of_a_broken_driver_says_what_its_repair_gives():
    explanation = command.explain(replay("nvidia-driver-mismatch"), CATALOG)
    assert any("backend would be nvidia" in change for change in explanation.changes)


def test_explain_shows_an_override_and_the_table_beside_it():
    explanation = command.explain(replay("cpu-16gb"), CATALOG, tier="4")
    assert explanation.tier["rule"] == "override"
    assert [row["rule"] for row in explanation.rules if row["result"] == "fired"] == ["cpu_small"]
    assert any("--tier auto" in change for change in explanation.changes)


def test_explain_without_a_fitting_model_says_so():
    explanation = command.explain(replay("cpu-4gb"), CATALOG, context_tokens=131072)
    assert explanation.model is None
    assert explanation.error.code == "NO_MODEL_FITS"
    assert "No model" in shown(command.explanation_as_table(explanation))


def test_explain_refuses_what_does_not_exist():
    with pytest.raises(UsageError):
        command.explain(replay("cpu-16gb"), CATALOG, tier="9")
    with pytest.raises(UsageError):
        command.explain(replay("cpu-16gb"), CATALOG, model="gpt-9")


def test_a_capture_that_was_cut_off_is_no_other_machine(tmp_path):
    path = tmp_path / "capture.yml"
    command.write_capture(str(path))
    text = path.read_bytes()
    assert text.endswith(b"complete: true\n")
    for share in range(5, 100, 5):
        path.write_bytes(text[: len(text) * share // 100])
        with pytest.raises(UsageError) as caught:
            command.run("", from_capture=str(path))
        assert caught.value.code == "CAPTURE_INVALID", share
    path.write_bytes(text)
    assert command.run("", from_capture=str(path)).document


def test_a_capture_of_an_earlier_version_is_read_whole_and_refused_cut_off(tmp_path):
    """It has no mark; what the probes raised was always its last part."""
    text = (FOLDER / "nvidia-t4-16gb.yml").read_text()
    path = tmp_path / "capture.yml"
    path.write_text(text)
    assert command.run("", from_capture=str(path)).document["backend"] == "nvidia"
    lines = text.splitlines(keepends=True)
    for number in range(12, len(lines) - 1, 7):
        path.write_text("".join(lines[:number]))
        with pytest.raises(UsageError):
            command.run("", from_capture=str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_capture_from_a_windows_editor_is_read(tmp_path, encoding):
    path = tmp_path / "capture.yml"
    text = (FOLDER / "cpu-64gb.yml").read_text().replace("\n", "\r\n")
    path.write_bytes(text.encode(encoding))
    assert command.run("", from_capture=str(path)).document["memory"]["total_mb"] == 64128
