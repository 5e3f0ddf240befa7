"""A capture tells what a machine is, and not whose."""

from __future__ import annotations

from dream_runner.diagnose.scrub_capture import scrub
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.facts.probe_system import gather
from unit.facts.replay import NAMES, load

SMI = (
    "index, uuid, name\n"
    "0, GPU-8a7e2c1d-1111-2222-3333-444455556666, A\n"
    "1, GPU-9b7e2c1d-1111-2222-3333-444455556666, B\n"
)


def test_uuids_become_numbers_and_stay_apart():
    capture = scrub({"a": SMI, "b": ["again GPU-9b7e2c1d-1111-2222-3333-444455556666"]})
    assert "8a7e2c1d" not in str(capture)
    assert "9b7e2c1d" not in str(capture)
    assert capture["b"] == ["again GPU-00000000-0000-0000-0000-000000000001"]


def test_boot_id_and_unique_ids_go():
    raw = {
        "machine": {"boot_id": "x", "release": "6"},
        "pci": [{"amd": {"unique_id": "deadbeefdeadbeef"}}],
    }
    clean = scrub(raw)
    assert clean["machine"] == {"release": "6"}
    assert clean["pci"][0]["amd"]["unique_id"] == "0000000000000001"


def test_mounts_lose_names_and_servers():
    raw = {
        "mounts": [
            ["//nas.example/jane", "/mnt/nas", "cifs"],
            ["nas:/export/jane", "/home/jane/nas", "nfs4"],
            ["tank/jane", "/srv", "zfs"],
            ["/dev/mapper/vault-root", "/", "ext4"],
            ["/dev/sdb1", "/media/jane/stick", "exfat"],
        ]
    }
    clean = scrub(raw, private=["jane", "vault"])["mounts"]
    assert "jane" not in str(clean)
    assert "nas.example" not in str(clean)
    assert "vault" not in str(clean)
    assert [row[2] for row in clean] == ["cifs", "nfs4", "zfs", "ext4", "exfat"]


def test_addresses_go_and_kernel_versions_stay():
    raw = {
        "machine": {"release": "5.15.153.1-microsoft-standard-WSL2"},
        "errors": {"x": "host 192.168.1.7 and fe80:0:0:0:1 and 52:54:00:12:34:56"},
    }
    clean = scrub(raw)
    assert clean["machine"]["release"].startswith("5.15.153.1")
    assert "192.168" not in clean["errors"]["x"]
    assert "52:54" not in clean["errors"]["x"]


def test_a_distribution_is_no_host_name():
    raw = {"os_release": "ID=ubuntu", "mounts": [["/dev/ubuntu/root", "/", "ext4"]]}
    clean = scrub(raw, private=["ubuntu"])
    assert clean["os_release"] == "ID=ubuntu"
    assert clean["mounts"][0][0] == "/dev/name/root"


def test_the_original_is_left_alone():
    capture = load("amd-2x-rx7900xtx")
    capture["pci"][0]["amd"]["unique_id"] = "feedfacefeedface"
    scrub(capture)
    assert capture["pci"][0]["amd"]["unique_id"] == "feedfacefeedface"


def test_scrubbing_changes_no_fact_but_ids():
    for name in NAMES:
        before, after = interpret(load(name)), interpret(scrub(load(name)))
        assert before["backend"] == after["backend"]
        assert [g["memory_mb"] for g in before["gpus"]] == [g["memory_mb"] for g in after["gpus"]]


def test_scrubbing_an_own_capture_twice_changes_nothing_more():
    once = scrub(gather())
    assert scrub(once) == once
