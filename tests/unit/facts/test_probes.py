"""The probes see a machine that is a folder, and write down what is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from dream_runner.module_utils.dream_core.facts import interpret, nvml, probe_gpu, probe_system
from dream_runner.module_utils.dream_core.facts.machine_reader import Host
from unit.facts.replay import load


class Machine:
    """A machine made of files; tools answer what they are told to."""

    def __init__(self, root):
        self.root = root
        self.answers = {}
        self.asked = []

    def file(self, path, text):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def link(self, path, target):
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def device(self, path):
        """Put a link to a character device there: making one needs root."""
        self.link(path, "/dev/null")

    def card(self, slot, **files):
        for name, text in files.items():
            self.file(f"/sys/bus/pci/devices/{slot}/{name}", text + "\n")

    def tool(self, name, **answer):
        path = self.root / "usr" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.chmod(0o755)
        self.answers[name] = {"rc": 0, "stdout": "", "stderr": "", "problem": None, **answer}

    @property
    def host(self):
        return Host(str(self.root), self.run)

    def run(self, path, arguments, seconds):
        name = path.rsplit("/", 1)[-1]
        self.asked.append((name, list(arguments), seconds))
        return self.answers[name]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_an_empty_machine_gives_a_capture_and_a_document(machine):
    capture = probe_system.gather(machine.host)
    assert capture["errors"] == {}
    assert capture["pci"] is None
    assert interpret.interpret(capture)["backend"] == "cpu"


def test_a_probe_that_fails_does_not_stop_the_others(machine):
    def broken(host):
        raise RuntimeError("the bus is on fire")

    capture = probe_system.gather(machine.host, {"pci": broken, "init": probe_system.init})
    assert capture["errors"] == {"pci": "RuntimeError: the bus is on fire"}
    assert "init" in capture
    assert [f["id"] for f in interpret.interpret(capture)["findings"]] == ["PROBE_FAILED"]


def test_amd_card_from_sysfs_alone(machine):
    machine.card(
        "0000:03:00.0",
        vendor="0x1002",
        device="0x744c",
        **{"class": "0x030000", "numa_node": "-1"},
        mem_info_vram_total="25753026560",
        mem_info_gtt_total="33000000000",
        unique_id="1234567890abcdef",
        resource="0x0000007800000000 0x0000007fffffffff 0x000000000014220c\n"
        "0x0000000000000000 0x0000000000000000 0x0000000000000000",
    )
    machine.file("/sys/bus/pci/devices/0000:03:00.0/ip_discovery/die/0/GC/0/major", "11")
    machine.file("/sys/bus/pci/devices/0000:03:00.0/ip_discovery/die/0/GC/0/minor", "0")
    machine.file("/sys/bus/pci/devices/0000:03:00.0/ip_discovery/die/0/GC/0/revision", "0")
    machine.file("/sys/bus/pci/devices/0000:03:00.0/drm/renderD128/dev", "")
    machine.device("/dev/kfd")
    machine.device("/dev/dri/renderD128")
    machine.link("/sys/bus/pci/devices/0000:03:00.0/driver", "../../bus/pci/drivers/amdgpu")
    capture = probe_system.gather(machine.host)
    (card,) = capture["pci"]
    assert card["bars"] == [32 * 2**30, 0]
    (gpu,) = interpret.interpret(capture)["gpus"]
    assert (gpu["gfx"], gpu["memory_mb"], gpu["usable"]) == ("gfx1100", 24560, True)
    assert gpu["id"] == "AMD-UID-1234567890abcdef"
    assert gpu["driver"]["name"] == "amdgpu"
    assert not machine.asked


def test_amd_tools_are_asked_only_where_the_kernel_is_silent(machine):
    machine.card("0000:03:00.0", vendor="0x1002", device="0x744c", **{"class": "0x030000"})
    machine.tool("amd-smi", stdout="[]")
    machine.tool("rocm-smi", stdout="{}")
    found = probe_gpu.amd(machine.host)
    assert [name for name, _, _ in machine.asked] == ["amd-smi"]
    assert found["amd_smi"]["stdout"] == "[]"


def test_an_amd_tool_that_fails_leaves_the_question_to_the_other(machine):
    machine.card("0000:03:00.0", vendor="0x1002", device="0x744c", **{"class": "0x030000"})
    machine.tool("amd-smi", rc=255, stderr="cannot import yaml")
    machine.tool("rocm-smi", stdout="{}")
    probe_gpu.amd(machine.host)
    assert [name for name, _, _ in machine.asked] == ["amd-smi", "rocm-smi"]


@pytest.mark.parametrize("rc", [0, 14, 255, -11])
def test_rows_lead_to_the_further_questions_whatever_the_exit_code(machine, rc):
    machine.card("0000:01:00.0", vendor="0x10de", device="0x2684", **{"class": "0x030000"})
    rows = "index, uuid, mig.mode.current\n0, GPU-1, Enabled\n1, GPU-2, [N/A]\n"
    machine.tool("nvidia-smi", rc=rc, stdout=rows)
    assert set(probe_gpu.nvidia(machine.host)["smi"]) == {"query", "list", "topo"}


def test_a_heading_alone_leads_to_none(machine):
    machine.card("0000:01:00.0", vendor="0x10de", device="0x2684", **{"class": "0x030000"})
    machine.tool("nvidia-smi", rc=15, stdout="index, uuid\n", stderr="lost")
    assert set(probe_gpu.nvidia(machine.host)["smi"]) == {"query"}


def test_a_folder_in_the_place_of_a_device_is_none(machine):
    # Docker makes one where a device that is not there was to be mounted.
    machine.file("/dev/kfd/x", "")
    (node,) = probe_gpu.nodes(machine.host)
    assert node["device"] is False
    capture = load("amd-rx7600")
    capture["nodes"][0] = node
    assert [f["id"] for f in interpret.interpret(capture)["findings"]] == ["NO_KFD"]


def test_kfd_topology_is_read_by_field(machine):
    base = "/sys/class/kfd/kfd/topology/nodes/1"
    machine.file(base + "/properties", "simd_count 96\ngfx_target_version 110000\nother 5\n")
    machine.file(base + "/io_links/0/properties", "type 11\nversion_major 0\nnode_to 2\n")
    (node,) = probe_gpu.amd(machine.host)["kfd"]
    assert node["gfx_target_version"] == "110000"
    assert node["links"] == [{"type": "11", "node_to": "2"}]


def test_nvidia_is_not_asked_without_card_and_tool(machine):
    probe_gpu.nvidia(machine.host)
    assert machine.asked == []


def test_nvidia_tool_gets_the_fields_that_an_old_one_knows(machine):
    machine.card("0000:01:00.0", vendor="0x10de", device="0x1b06", **{"class": "0x030000"})
    machine.tool("nvidia-smi", rc=2, stdout='Field "compute_cap" is not a valid field to query.')
    probe_gpu.nvidia(machine.host)
    asked = [arguments[0] for _, arguments, _ in machine.asked]
    assert asked == [
        "--query-gpu=" + probe_gpu.SMI_QUERY,
        "--query-gpu=" + probe_gpu.SMI_QUERY_OLD,
    ]


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ({"rc": 0, "problem": None}, False),
        ({"rc": None, "problem": "timeout"}, False),
        ({"rc": -11, "problem": None}, True),
        ({"rc": -11, "problem": None, "stdout": '{"code": 0'}, True),
        ({"rc": -11, "problem": None, "stdout": '{"code": 0}\n'}, False),
        ({"rc": None, "problem": "cannot be started: x"}, True),
        (None, True),
    ],
)
def test_nvidia_smi_is_asked_where_nvml_settles_nothing(machine, answer, asked):
    machine.card("0000:01:00.0", vendor="0x10de", device="0x2684", **{"class": "0x030000"})
    machine.tool("nvidia-smi", rc=9, stderr="no")
    if answer is not None:
        # NVML is asked in a Python of its own.
        machine.file(nvml.LIBRARIES[0], "")
        machine.answers[os.path.basename(sys.executable)] = {"stdout": "", "stderr": "", **answer}
    probe_gpu.nvidia(machine.host)
    assert ("nvidia-smi" in [name for name, _, _ in machine.asked]) is asked
    assert (len(machine.asked) > asked) is (answer is not None)


def test_more_cards_get_more_time(machine):
    for number in range(8):
        slot = f"0000:{number + 1:02x}:00.0"
        machine.card(slot, vendor="0x10de", device="0x2330", **{"class": "0x030200"})
    machine.tool("nvidia-smi", rc=9, stderr="no")
    probe_gpu.nvidia(machine.host)
    assert machine.asked[0][2] == pytest.approx(3 + 7)


def test_names_come_from_the_pci_database(machine):
    machine.card("0000:01:00.0", vendor="0x10de", device="0x2684", **{"class": "0x030000"})
    machine.file(
        "/usr/share/misc/pci.ids",
        "# comment\n1002  AMD\n\t2684  wrong vendor\n10de  NVIDIA\n\t2684  AD102 [RTX 4090]\n"
        "\t\t1043 88a2  a subsystem\n\t2685  another\n10df  next\n",
    )
    assert probe_gpu.pci_names(machine.host) == {"10de:2684": "AD102 [RTX 4090]"}


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b": "8589934592", "a": "max"}, ["8589934592", "max"]),
        ("0::/\n", {"": "4294967296"}, ["4294967296"]),
        ("0::/../../x\n", {}, []),
    ],
)
def test_limits_of_all_parents_are_read(machine, group, limits, expected):
    machine.file("/proc/self/cgroup", group)
    for path, text in limits.items():
        machine.file(f"/sys/fs/cgroup/{path}/memory.max", text)
    assert probe_system.memory_now(machine.host)["cgroup_limits"] == expected


def test_limit_of_cgroup_1_is_read(machine):
    machine.file("/proc/self/cgroup", "4:cpu,cpuacct:/\n3:memory:/docker/x\n")
    machine.file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648")
    assert probe_system.memory_now(machine.host)["cgroup_limits"] == ["2147483648"]


def test_secure_boot_is_the_fifth_byte(machine):
    name = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    machine.file(f"/sys/firmware/efi/efivars/{name}", "\x06\x00\x00\x00\x01")
    assert probe_gpu.secure_boot(machine.host)["enabled"] is True


def test_cpuinfo_keeps_what_names_and_what_computes(machine):
    block = (
        "processor\t: {0}\nvendor_id\t: GenuineIntel\nmodel name\t: A\ncpu MHz\t\t: {0}000\n"
        "physical id\t: 0\ncore id\t\t: {1}\nflags\t\t: avx avx2\n"
    )
    machine.file("/proc/cpuinfo", "\n".join(block.format(n, n // 2) for n in range(4)))
    found = probe_system.cpu(machine.host)
    assert found["info"] == {"vendor_id": "GenuineIntel", "model name": "A", "flags": "avx avx2"}
    assert (found["threads"], found["cores"]) == (4, 2)


def test_arm_cpuinfo_names_the_board_in_its_last_block(machine):
    machine.file(
        "/proc/cpuinfo",
        "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n",
    )
    assert probe_system.cpu(machine.host)["info"]["Model"] == "Raspberry Pi 5"


def test_a_processor_with_hundreds_of_threads_is_counted_whole(machine):
    block = "processor\t: {0}\nphysical id\t: 0\ncore id\t\t: {0}\nflags\t\t: {1}\n"
    machine.file("/proc/cpuinfo", "\n".join(block.format(n, "avx " * 400) for n in range(512)))
    found = probe_system.cpu(machine.host)
    assert (found["threads"], found["cores"]) == (512, 512)


@pytest.mark.parametrize(
    ("line", "inside"),
    [
        ("lxcfs /var/lib/lxcfs fuse.lxcfs rw 0 0", False),
        ("lxcfs /proc/cpuinfo fuse.lxcfs rw 0 0", True),
    ],
)
def test_a_host_of_lxc_containers_is_none_itself(machine, line, inside):
    machine.file("/proc/self/mounts", f"/dev/sda1 / ext4 rw 0 0\n{line}\n")
    assert probe_system.environment(machine.host)["lxcfs"] is inside


def test_mounts_of_services_and_containers_are_left_out(machine):
    lines = [
        "/dev/sda1 / ext4 rw 0 0",
        "overlay /var/lib/docker/overlay2/abc/merged overlay rw 0 0",
        "tmpfs /run/user/1000 tmpfs rw 0 0",
        "tmpfs /tmp tmpfs rw 0 0",
        "proc /proc proc rw 0 0",
        "tmpfs /dev tmpfs rw 0 0",
        "tmpfs /dev/shm tmpfs rw 0 0",
        "/dev/sdc1 /development ext4 rw 0 0",
        "/dev/sdb1 /srv/my\\040models xfs rw 0 0",
    ]
    machine.file("/proc/self/mounts", "\n".join(lines) + "\n")
    found = interpret.interpret(probe_system.gather(machine.host))["mounts"]
    assert [mount["path"] for mount in found] == [
        "/",
        "/tmp",
        "/development",
        "/srv/my models",
    ]


@pytest.mark.parametrize("name", ["nvidia.ko", "nvidia.ko.zst", "nvidia-current.ko.xz"])
def test_a_module_that_is_installed_is_found_in_the_list_of_the_kernel(machine, name):
    path = f"/lib/modules/{os.uname().release}/modules.dep"
    machine.file(path, "kernel/x/nvidia-drm.ko: kernel/nvidia.ko\n")
    machine.card("0000:01:00.0", vendor="0x10de", device="0x2684", **{"class": "0x030000"})
    assert probe_gpu.nvidia(machine.host)["module_file"] is False
    machine.file(path, "kernel/a.ko:\n" * 50000 + f"updates/dkms/{name}: kernel/b.ko\n")
    assert probe_gpu.nvidia(machine.host)["module_file"] is True


def test_tegra_is_told_by_the_device_tree(machine):
    assert probe_gpu.tegra(machine.host) is None
    machine.file("/proc/device-tree/compatible", "nvidia,p3737\0nvidia,tegra234\0")
    assert probe_gpu.tegra(machine.host)["compatible"] == ["nvidia,p3737", "nvidia,tegra234"]


# NVML, against a library that is built to its header

FAKE_NVML = r"""
#include <string.h>
typedef struct { char legacy[16]; unsigned domain, bus, device, id, sub; char bus_id[32]; } pci_t;
typedef struct { unsigned long long total, free, used; } memory_t;
static char one, two, part;
int nvmlInit_v2(void) { return CODE; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) {
  strncpy(to, "580.95.05", size); return 0; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **to) { *to = i ? &two : &one; return 0; }
int nvmlDeviceGetUUID(void *d, char *to, unsigned size) {
  strncpy(to, d == &one ? "GPU-one" : d == &two ? "GPU-two" : "MIG-part", size); return 0; }
int nvmlDeviceGetName(void *d, char *to, unsigned size) {
  strncpy(to, "NVIDIA Test", size); return 0; }
int nvmlDeviceGetPciInfo_v3(void *d, pci_t *to) {
  memset(to, 0, sizeof *to); strcpy(to->legacy, "0000:01:00.0");
  strcpy(to->bus_id, d == &one ? "00000000:01:00.0" : "00000000:41:00.0"); return 0; }
int nvmlDeviceGetMemoryInfo(void *d, memory_t *to) {
  if (d == &two) return 3;
  to->total = d == &part ? 42144366592ull : 85520809984ull; to->free = 1; to->used = 2; return 0; }
int nvmlDeviceGetCudaComputeCapability(void *d, int *a, int *b) { *a = 9; *b = 0; return 0; }
int nvmlDeviceGetMigMode(void *d, unsigned *now, unsigned *later) {
  *now = *later = d == &one; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *d, unsigned *to) { *to = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *d, unsigned i, void **to) {
  if (i != 2) return 6;
  *to = &part; return 0; }
int nvmlDeviceGetNvLinkState(void *d, unsigned link, unsigned *to) {
  if (link > 5) return 2;
  *to = link < 4; return 0; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *d, unsigned link, pci_t *to) {
  return nvmlDeviceGetPciInfo_v3(d == &one ? &two : &one, to); }
int nvmlDeviceGetTopologyCommonAncestor(void *a, void *b, int *to) { *to = 50; return 0; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Build a library with NVML's functions; ``library(code)`` is what its start returns."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    source = folder / "nvml.c"
    source.write_text(FAKE_NVML)

    def build(code):
        path = folder / f"libnvidia-ml-{code}.so"
        command = [compiler, "-shared", "-fPIC", "-w", f"-DCODE={code}", "-o", path, source]
        subprocess.run(command, check=True)
        return str(path)

    return build


def ask(path):
    command = [sys.executable, "-I", "-S", "-c", nvml.source(), path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nvml_is_read_as_its_header_says(library):
    answer = json.loads(ask(library(0)).stdout)
    assert answer["driver"] == "580.95.05"
    first, second = answer["devices"]
    assert first["memory_bytes"] == 85520809984
    assert second["memory_bytes"] is None
    assert first["bus_id"] == "00000000:01:00.0"
    assert first["compute_capability"] == "9.0"
    assert [part["memory_bytes"] for part in first["mig_instances"]] == [42144366592]
    assert first["nvlinks"] == ["00000000:41:00.0"] * 4
    assert answer["levels"] == [[0, 1, "SYS"]]


def test_nvml_answer_becomes_gpus(library):
    capture = load("nvidia-2x-rtx3090-nvml-bridge")
    done = ask(library(0))
    capture["nvidia"]["nvml"] = {
        "rc": done.returncode,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "problem": None,
    }
    facts = interpret.interpret(capture)
    assert [gpu["uuid"] for gpu in facts["gpus"]] == ["GPU-one", "GPU-two"]
    assert facts["gpus"][0]["mig"]["instances"][0]["memory_mb"] == 40192
    assert [link["kind"] for link in facts["links"]] == ["NV4"]


def test_nvml_that_cannot_start_says_why(library):
    answer = json.loads(ask(library(18)).stdout)
    assert answer == {"code": 18, "error": "NVML error 18"}
    capture = load("nvidia-nvml-driver-not-loaded")
    capture["nvidia"]["nvml"]["stdout"] = json.dumps(answer)
    (finding,) = interpret.interpret(capture)["findings"]
    assert finding["id"] == "DRIVER_MISMATCH"
    assert "driver/library version mismatch" in finding["what"]


def test_nvml_of_an_old_driver_lacks_functions_and_still_answers(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path / "old.c"
    source.write_text(
        "int nvmlInit_v2(void){return 0;} int nvmlDeviceGetCount_v2(unsigned*n){*n=1;return 0;}"
    )
    path = tmp_path / "old.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)
    assert json.loads(ask(str(path)).stdout)["devices"] == [{"index": 0}]


def test_a_library_that_is_none_is_an_error_and_no_crash(tmp_path):
    path = tmp_path / "libnvidia-ml.so.1"
    path.write_text("this is no library")
    done = ask(str(path))
    assert done.returncode != 0
    assert done.stdout == ""
