"""Rows that parse are facts, an exit code is a finding, and a hint fits its surroundings."""

from __future__ import annotations

import json

import pytest

from dream_runner.module_utils.dream_core.facts import advice, exits
from dream_runner.module_utils.dream_core.facts.finding_texts import CATALOGUE
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.facts.totals import accelerator
from unit.facts.replay import load

INFOROM = "WARNING: infoROM is corrupted at gpu 0000:01:00.0\n"
BLOCKED = "Failed to initialize NVML: GPU access blocked by the operating system\n"


def by_id(facts):
    return {item["id"]: item for item in facts["findings"]}


def smi(name="nvidia-rtx3060-12gb", **answer):
    """Return a capture whose nvidia-smi answers differently."""
    capture = load(name)
    capture["nvidia"]["smi"]["query"].update(answer)
    return capture


# FC2-09


@pytest.mark.parametrize("code", sorted(exits.NVIDIA))
def test_rows_are_facts_and_the_code_is_a_finding(code):
    facts = interpret(smi(rc=code, stderr=INFOROM))
    assert facts["backend"] == "nvidia"
    assert accelerator(facts)["memory_mb"] == 12288
    (found,) = facts["findings"]
    assert found["id"] == "TOOL_REPORTED_PROBLEM"
    assert found["severity"] == "warning"
    assert f"exit {code}: {exits.NVIDIA[code]}" in found["what"]
    assert "infoROM is corrupted at gpu" in found["what"]


@pytest.mark.parametrize(("code", "said"), [(77, "exit 77"), (-11, "ended by SIGSEGV")])
def test_a_code_without_a_meaning_is_told_as_it_is(code, said):
    (found,) = interpret(smi(rc=code))["findings"]
    assert said in found["what"]


def test_no_rows_is_a_broken_driver_whose_reason_is_not_the_heading():
    heading = load("nvidia-rtx3060-12gb")["nvidia"]["smi"]["query"]["stdout"].splitlines()[0]
    facts = interpret(smi(rc=15, stdout=heading + "\n", stderr=""))
    assert facts["backend"] == "cpu"
    what = by_id(facts)["GPU_DRIVER_BROKEN"]["what"]
    assert "(exit 15: a GPU has fallen off the bus)" in what
    assert "memory.total" not in what


def test_a_row_that_was_cut_off_is_none_whatever_the_code():
    capture = smi(rc=255)
    query = capture["nvidia"]["smi"]["query"]
    query["stdout"] = query["stdout"].rstrip("\n")[:-10]
    assert interpret(capture)["backend"] == "cpu"


def test_nvml_that_crashes_after_its_answer_has_answered():
    capture = load("nvidia-h100-nvml")
    capture["nvidia"]["nvml"]["rc"] = -11
    facts = interpret(capture)
    assert facts["backend"] == "nvidia"
    assert "ended by SIGSEGV" in by_id(facts)["TOOL_REPORTED_PROBLEM"]["what"]


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("amd-rx7900xtx-amd-smi", "amd-smi"),
        ("amd-rx7900xtx-amd-smi-text", "amd-smi"),
        ("amd-rx7900xtx-rocm-smi", "rocm-smi"),
        ("amd-rx7900xtx-rocm-smi-text", "rocm-smi"),
    ],
)
def test_the_same_of_amds_tools(name, tool):
    capture = load(name)
    before = accelerator(interpret(capture))
    capture["amd"][tool.replace("-", "_")].update(rc=2, stderr="a card sleeps\n")
    facts = interpret(capture)
    assert accelerator(facts) == before
    assert f"({tool}, exit 2; a card sleeps)" in by_id(facts)["TOOL_REPORTED_PROBLEM"]["what"]


def test_a_tool_of_amds_that_names_no_card_leaves_it_to_the_other():
    capture = load("amd-rx7900xtx-rocm-smi")
    capture["amd"]["amd_smi"] = {"rc": 255, "stdout": "", "stderr": "no module", "problem": None}
    facts = interpret(capture)
    assert facts["backend"] == "amd"
    assert facts["findings"] == []


# FC2-15


def test_wsl_gets_the_advice_of_wsl():
    capture = smi("wsl2-rtx4080", rc=17, stdout=BLOCKED)
    facts = interpret(capture)
    assert facts["repaired_backend"] == "nvidia"
    found = by_id(facts)["GPU_DRIVER_BROKEN"]
    assert "blocked by the operating system" in found["what"]
    for words in ("driver in Windows, never inside WSL", "wsl --update", "wsl --shutdown", "TCC"):
        assert words in found["hint"]
    assert "reboot" not in found["hint"]


def test_wsl_whose_library_says_it_by_number():
    capture = smi("wsl2-rtx4080", rc=17, stdout="")
    answer = json.dumps({"code": 17, "error": "NVML error 17"})
    capture["nvidia"].update(nvml={"rc": 0, "stdout": answer, "stderr": "", "problem": None})
    capture["nvidia"]["smi"] = None
    assert (
        "blocked by the operating system" in by_id(interpret(capture))["GPU_DRIVER_BROKEN"]["what"]
    )


def test_a_container_of_wsl_is_told_of_its_runtime():
    capture = smi("wsl2-rtx4080", rc=17, stdout=BLOCKED)
    capture["environment"]["dockerenv"] = True
    facts = interpret(capture)
    assert "no-cgroups = false" in by_id(facts)["GPU_DRIVER_BROKEN"]["hint"]
    assert facts["repaired_backend"] == "nvidia"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"environment": {"dockerenv": True}},
            "on the machine that runs this container, not inside",
        ),
        ({"environment": {"systemd_container": "lxc"}}, "not inside it"),
        ({"cpu": {"info": {"flags": "avx hypervisor avx2"}}}, "in this virtual machine"),
        ({}, "repair or reinstall the driver, reboot"),
    ],
)
def test_a_driver_is_repaired_where_it_lives(change, words):
    capture = smi("nvidia-rtx3060-12gb", rc=9, stdout="NVIDIA-SMI has failed\n")
    capture.update(change)
    assert words in by_id(interpret(capture))["GPU_DRIVER_BROKEN"]["hint"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"kubernetes": True}, "nvidia.com/gpu"),
        ({"systemd_container": "lxc"}, "lxc config device add"),
        ({"dockerenv": True}, "--gpus all"),
    ],
)
def test_a_card_that_was_not_given_is_asked_for_in_the_words_of_the_container(environment, words):
    capture = load("container-h100-not-given")
    capture["environment"] = environment
    assert words in by_id(interpret(capture))["NOT_IN_CONTAINER"]["hint"]


def test_every_row_of_the_table_is_about_a_finding_and_says_something_else():
    for place, hints in advice.HINTS.items():
        for name, hint in hints.items():
            assert name in CATALOGUE, place
            assert hint != CATALOGUE[name][2]


def test_nobody_without_power_over_the_driver_is_told_to_install_one():
    for place in ("wsl", "container"):
        for name in (
            "GPU_DRIVER_BROKEN",
            "GPU_DRIVER_MISSING",
            "DRIVER_TOO_OLD",
            "DRIVER_MISMATCH",
        ):
            hint = advice.HINTS[place][name]
            assert any(word in hint for word in ("Windows", "machine that runs this container"))


# FC2-16

PARENT = "GPU-00000000-0000-0000-0000-000000000000"
PART = "  MIG 3g.20gb     Device  0: (UUID: MIG-11111111-0000-0000-0000-000000000000)\n"


def split(memory="[Insufficient Permissions]", mode="Enabled", uuid=PARENT, name="A100-SXM4-40GB"):
    """Return what a container with one part of a card sees."""
    capture = load("nvidia-rtx3060-12gb")
    query = capture["nvidia"]["smi"]["query"]
    row = f"0, {uuid}, NVIDIA {name}, 00000000:01:00.0, {memory}, 580.95.05, 8.0, {mode}"
    query["stdout"] = query["stdout"].splitlines()[0] + "\n" + row + "\n"
    listed = f"GPU 0: NVIDIA {name} (UUID: {PARENT})\n{PART}"
    capture["nvidia"]["smi"]["list"] = dict(query, stdout=listed)
    return capture


HIDDEN = "[Insufficient Permissions]"


@pytest.mark.parametrize(
    "change",
    [{}, {"mode": HIDDEN}, {"uuid": HIDDEN}, {"name": "GH200 144G HBM3e"}, {"memory": "40960 MiB"}],
)
def test_a_part_whose_size_is_known_is_used(change):
    facts = interpret(split(**change))
    assert facts["backend"] == "nvidia"
    found = accelerator(facts)
    assert (found["memory_class"], found["memory_mb"]) == ("discrete", 19073)
    assert [item["id"] for item in facts["findings"]] == ["MIG_ENABLED"]


def test_a_part_without_a_size_is_unknown():
    capture = split()
    listed = capture["nvidia"]["smi"]["list"]
    listed["stdout"] = listed["stdout"].replace("3g.20gb", "3g.99999gb")
    facts = interpret(capture)
    assert facts["backend"] == "cpu"
    assert facts["gpus"][0]["why_not"] == "VRAM_UNKNOWN"


def test_a_part_is_too_small_whatever_the_size_of_the_whole():
    capture = split(memory="40960 MiB")
    listed = capture["nvidia"]["smi"]["list"]
    listed["stdout"] = listed["stdout"].replace("3g.20gb", "1c.2gb")
    assert interpret(capture)["gpus"][0]["why_not"] == "VRAM_TOO_SMALL"


def test_the_library_that_hides_the_whole_tells_its_part():
    capture = load("nvidia-h100-nvml-mig")
    answer = json.loads(capture["nvidia"]["nvml"]["stdout"])
    for device in answer["devices"]:
        device.update(memory_bytes=None, mig=device["mig"])
    capture["nvidia"]["nvml"]["stdout"] = json.dumps(answer)
    assert accelerator(interpret(capture)) == accelerator(interpret(load("nvidia-h100-nvml-mig")))


def test_a_container_of_wsl_that_was_not_given_the_card_is_told_so():
    capture = smi("wsl2-rtx4080", rc=9, stdout="")
    capture["environment"]["dockerenv"] = True
    capture["nodes"] = []
    facts = interpret(capture)
    assert set(by_id(facts)) >= {"NOT_IN_CONTAINER"}
    assert facts["repaired_backend"] == "nvidia"
