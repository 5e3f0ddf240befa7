"""One test a known defect: it fails if the defect comes back.

U-xx: reference/installer-phases.md, appendix A. Hxx: reference/failure-catalogue.md.
"""

from __future__ import annotations

import inspect

import pytest
import yaml

from dream_runner import catalog
from dream_runner.decide import gpu_assignment, models, tiers
from dream_runner.module_utils.dream_core.errors import RebootRequired, RequirementError
from dream_runner.module_utils.dream_core.facts import probe_gpu, probe_system
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.facts.machine_reader import Host
from dream_runner.module_utils.dream_core.facts.totals import accelerator, ram_mb, usable_gpus
from unit.decide.test_tiers import host
from unit.facts.replay import NAMES, load

CATALOG = catalog.load()


def facts(name):
    return interpret(load(name))


def tier(document, **options):
    return tiers.choose_tier(document, CATALOG.tiers, **options)


def model(document, **options):
    return models.choose_model(document, tier(document), CATALOG.models, **options)


def ids(document):
    return {finding["id"] for finding in document["findings"]}


def test_u08_wsl2_with_nvidia_is_an_nvidia_host():
    assert facts("wsl2-rtx4080")["backend"] == "nvidia"


def test_u09_memory_of_all_gpus_counts():
    assert accelerator(facts("nvidia-2x-rtx4090-phb"))["memory_mb"] == 2 * 24564


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n.startswith("intel-arc-") and "no-" not in n]
)
def test_u10_arc_is_an_intel_host(name):
    assert facts(name)["backend"] == "intel"
    assert tier(facts(name))["id"] in ("ARC", "ARC_LITE")


def test_u11_a_needed_reboot_has_its_own_code_and_needs_no_unit():
    assert RebootRequired("x", code="REBOOT").exit_code == 10
    hint = next(f["hint"] for f in facts("nvidia-secure-boot")["findings"])
    assert "signing key" in hint


def test_u12_a_single_amd_card_has_its_own_target():
    single = {n: usable_gpus(facts(n)) for n in NAMES if n.startswith("amd-rx")}
    targets = {gpu["gfx"] for gpus in single.values() for gpu in gpus}
    assert {"gfx1100", "gfx1101", "gfx1102", "gfx1201"} <= targets
    assert "gfx1151" not in targets


def test_u12_a_core_is_no_target():
    """Navi 32 is core 11.0.3 and gfx1101; digits put together would be gfx1103."""
    capture = load("amd-rx7800xt")
    capture["amd"]["kfd"] = []
    assert interpret(capture)["gpus"][0]["gfx"] == "gfx1101"


def test_u13_fitted_memory_decides_within_the_family():
    assert tier(facts("amd-strix-halo-395-64gb"))["id"] == "SH_COMPACT"
    assert tier(facts("amd-strix-halo-395-128gb"))["id"] == "SH_LARGE"


def test_u14_wsl_is_sized_by_its_own_memory():
    document = facts("wsl2-rtx4080")
    assert document["memory"]["windows_mb"] == 65536
    assert ram_mb(document) == 31900


def test_u15_free_disk_is_no_fact_and_every_filesystem_is():
    document = facts("cpu-64gb")
    assert not [name for name in document if "disk" in name or "free" in name]
    assert {mount["path"] for mount in document["mounts"]} == {"/", "/boot/efi"}


def test_u16_a_name_with_blackwell_is_no_tier():
    assert tier(facts("nvidia-rtx-pro-4000-blackwell-24gb"))["id"] == "3"


def test_u17_a_broken_driver_does_not_select_the_igpu():
    document = facts("hybrid-amd-igpu-nvidia-broken")
    assert document["backend"] == "cpu"
    assert document["repaired_backend"] == "nvidia"
    assert "GPU_DRIVER_BROKEN" in ids(document)


def test_u18_every_nvlink_width_is_an_nvlink():
    assert {gpu_assignment.link_rank(f"NV{n}") for n in range(4, 37)} == {100}
    assert accelerator(facts("nvidia-4x-a100-80gb-nv12"))["memory_mb"] == 4 * 81920


def test_u19_gtt_decides_nothing():
    for name in ("amd-desktop-igpu-64gb", "amd-desktop-igpu-128gb"):
        assert facts(name)["backend"] == "cpu"
    assert accelerator(facts("amd-rx7900xtx-128gb-ram"))["memory_class"] == "discrete"
    capture = load("amd-rx7600")
    capture["pci"][0]["amd"]["vram"] = str(2 * 2**30)
    assert interpret(capture)["backend"] == "cpu"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=ubuntu\nID_LIKE=debian", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "redhat"),
        ("ID=cachyos\nID_LIKE=arch", "arch"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "suse"),
        ("ID=alpine", "alpine"),
        ("ID=void", "void"),
        ("ID=somelinux\nID_LIKE=fedora", "redhat"),
        ("ID=nixos", "unknown"),
        ("", "unknown"),
        ("VERSION=$(reboot)\nID='debian'", "debian"),
    ],
)
def test_u20_every_family_of_distributions_is_told(text, family):
    capture = load("cpu-16gb")
    capture["os_release"] = text
    assert interpret(capture)["os"]["family"] == family


def test_u21_a_failed_topology_query_is_skipped_and_recorded():
    document = facts("nvidia-2x-rtx4090-no-topo")
    assert "TOPOLOGY_UNKNOWN" in ids(document)
    assert accelerator(document)["count"] == 2
    assert facts("nvidia-gb200-unified-na")["backend"] == "nvidia"


@pytest.mark.parametrize("size", [12282, 16376])
def test_u59_the_context_is_settled_before_the_model(size):
    choice = model(host("nvidia", size=size), context_tokens=65536)
    assert choice["context_tokens"] == 65536
    entry = models.find_model(CATALOG.models, choice["id"])
    assert entry["max_context_tokens"] >= 65536
    assert models.need_mb(entry, 65536) <= size


def test_u60_no_cpu_host_gets_a_cuda_image_or_one_too_old():
    engine = next(s for s in CATALOG.services["services"] if s["id"] == "llama-server")
    image = engine["variants"]["cpu"].get("image", engine["image"])
    assert "cuda" not in image
    build = int(image.rsplit("-b", 1)[1])
    needed = [m["min_engine_build"] or 0 for m in CATALOG.models["models"]]
    assert build >= max(needed)


def test_u81_the_cache_is_computed_from_the_shape_of_the_model():
    mini = models.find_model(CATALOG.models, "phi4-mini-q4")
    assert round(models.cache_bytes(mini, 128000) / 10**9, 1) == 16.8
    phi = models.find_model(CATALOG.models, "phi4-q4")
    assert round(models.cache_bytes(phi, 65536) / 10**9, 1) == 13.4
    with pytest.raises(RequirementError):
        model(host("nvidia", size=6144), wanted="phi4-mini-q4", context_tokens=128000)


def test_h1_the_bus_comes_before_the_tool():
    for name in ("nvidia-smi-stale-no-card", "nvidia-smi-lies-no-card"):
        document = facts(name)
        assert document["gpus"] == []
        assert "STALE_NVIDIA_SMI" in ids(document)


def test_h2_there_is_one_detector_and_it_knows_wsl():
    assert facts("wsl2-rtx4080")["os"]["wsl"] is True
    assert facts("wsl2-rtx4080")["gpus"][0]["memory_mb"] == 16376


def test_h3_not_available_is_unknown_and_not_zero():
    (gpu,) = facts("nvidia-gb10-128gb")["gpus"]
    assert gpu["memory_mb"] is None
    assert gpu["memory_class"] == "unified"


@pytest.mark.parametrize("cut", [1, 3, 9, 30, 60])
def test_h3_a_row_that_was_cut_off_is_no_gpu(cut):
    capture = load("nvidia-h100-mig-2x3g40gb")
    query = capture["nvidia"]["smi"]["query"]
    query["stdout"] = query["stdout"][:-cut]
    assert usable_gpus(interpret(capture)) == []


def test_h3_a_row_with_fields_missing_is_no_gpu():
    capture = load("nvidia-rtx4090-24gb")
    query = capture["nvidia"]["smi"]["query"]
    query["stdout"] = query["stdout"].replace(", 8.9, [N/A]", "")
    assert usable_gpus(interpret(capture)) == []


def test_h4_totals_are_nowhere_in_the_document():
    document = facts("nvidia-2x-rtx4090-phb")
    assert "49128" not in yaml.safe_dump(document)
    assert len({gpu["id"] for gpu in document["gpus"]}) == 2


def test_h5_an_override_leaves_the_detection_as_it_was():
    document = facts("cpu-64gb")
    before = yaml.safe_dump(document)
    choice = tier(document, override="NV_ULTRA")
    assert yaml.safe_dump(document) == before
    assert choice["overridden"] is True
    assert document["backend"] == "cpu"


def test_h6_a_tiny_card_is_left_alone_with_a_message():
    document = facts("nvidia-gt1030-2gb")
    assert document["backend"] == "cpu"
    assert "VRAM_TOO_SMALL" in ids(document)


def test_h7_no_gfx_target_is_ever_guessed():
    document = facts("amd-unknown-future-gpu")
    assert document["gpus"][0]["gfx"] is None
    assert document["backend"] == "cpu"
    assert "HSA_OVERRIDE_GFX_VERSION" not in yaml.safe_dump(CATALOG.services)


def test_h8_one_call_gives_one_document():
    assert set(probe_system.PROBES) <= set(probe_system.gather(Host("/nonexistent")))


def test_h9_there_is_no_shell_and_no_pipeline():
    source = inspect.getsource(probe_system) + inspect.getsource(probe_gpu)
    assert "shell=True" not in source
    assert "/bin/sh" not in source


def test_h10_a_second_run_keeps_the_cards():
    document = facts("nvidia-8x-h100-nv18")
    first = gpu_assignment.assign(document, 60000, ("whisper",))
    document["gpus"].reverse()
    again = gpu_assignment.assign(document, 50000, ("whisper",), previous=first)
    assert again["engine"] == first["engine"]
    assert again["helpers"] == first["helpers"]


def test_h11_both_memories_are_reported_and_the_binding_one_counts():
    memory = facts("container-limit-8gb")["memory"]
    assert (memory["total_mb"], memory["limit_mb"], memory["usable_mb"]) == (64128, 8192, 8192)


def test_h12_an_old_driver_is_found_before_anything_is_pulled():
    document = facts("nvidia-driver-535")
    assert "DRIVER_TOO_OLD" in ids(document)
    assert document["backend"] == "cpu"
    assert document["repaired_backend"] == "nvidia"
