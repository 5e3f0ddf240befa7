"""Plan the changes to the container engine: packages, options, NVIDIA's toolkit. Pure.

``engine_look`` inspects the host, this module decides, the role applies the plan.
"""

from __future__ import annotations

import re
from typing import Any, List, Mapping, Optional

from ..errors import GpuError
from ..types.engine import (
    DaemonPlan,
    DeviceGroup,
    Engine,
    EngineLook,
    EnginePlan,
    Repository,
    ToolkitPlan,
)
from ..types.facts import Facts
from . import daemon_options
from .engine_identity import bad_versions, found, identify, refusal
from .engine_source import repository, source

CDI_FILE = "/etc/cdi/nvidia.yaml"
TOOLKIT_PACKAGES = ("nvidia-container-toolkit",)


def plan(request: Mapping[str, Any], look: EngineLook) -> EnginePlan:
    """Return the plan. Raises the first problem that prevents it.

    ``request``: docker_source, offline, bundled (names of a bundle's packages), backend, system,
    driver (NVIDIA's version), options (the role's), ours (options we set before, by the receipt).
    """
    backend = str(request["backend"])
    engine = identify(look)
    problem = refusal(engine, look, backend)
    if problem:
        raise problem
    check_devices(backend, look["devices"])
    origin = source(
        request["docker_source"],
        engine,
        look,
        request["system"],
        offline=request["offline"],
        bundled=request["bundled"],
    )
    return {
        "engine": engine,
        "found": found(engine, look),
        "why": origin["why"],
        "packages": origin["packages"],
        "repositories": _repositories(request, origin["source"], look),
        "daemon": _daemon(request, engine, look),
        "toolkit": _toolkit(request, look),
    }


def _daemon(request: Mapping[str, Any], engine: Engine, look: EngineLook) -> DaemonPlan:
    """Return ``{differs, content, ours, kept}`` of the daemon's file."""
    options, backend = request["options"], str(request["backend"])
    root = str(options["data_root"])
    daemon_options.check_data_root(root, engine, look["filesystem"], int(options["least_mb"]))
    present = daemon_options.parse(look["daemon_text"])
    wanted = daemon_options.wanted_options(
        options["daemon_options"],
        present,
        data_root=root,
        store=daemon_options.image_store(options["image_store"], engine, request["ours"], root),
        nvidia=backend == "nvidia",
    )
    merged = daemon_options.merge(
        present, wanted, request["ours"], required=("data-root", "runtimes")
    )
    is_changed = merged["options"] != present
    return {
        "differs": is_changed,
        # A file that others wrote with the same options is left alone.
        "content": daemon_options.render(merged["options"])
        if is_changed
        else look["daemon_text"] or "",
        "ours": merged["ours"],
        "kept": merged["kept"],
    }


def _repositories(request: Mapping[str, Any], origin: str, look: EngineLook) -> List[Repository]:
    """Return the repositories to add first; one that is present under another name counts."""
    if request["offline"]:
        return []
    options, system = request["options"], request["system"]
    arch, wanted = str(request["arch"]), []
    if origin == "upstream":
        avoid = bad_versions(str(request["backend"]))
        wanted.append(repository("docker", options["repository"], system, arch, avoid=avoid))
    if _toolkit(request, look)["packages"]:
        offers = options["toolkit_repository"]
        wanted.append(repository("nvidia", offers, system, arch, flat=True))
    known = [str(url).rstrip("/") for url in look["sources"]]
    return [item for item in wanted if item["url"] not in known or item["key"] in look["keys"]]


def _toolkit(request: Mapping[str, Any], look: EngineLook) -> ToolkitPlan:
    """Return what NVIDIA's toolkit needs: ``{packages, cdi}``; nothing for other backends."""
    if request["backend"] != "nvidia":
        return {"packages": [], "cdi": False}
    return {
        "packages": [] if look["toolkit"] else list(TOOLKIT_PACKAGES),
        "cdi": cdi_is_due(look["cdi_text"], str(request["driver"])),
    }


# --- devices -----------------------------------------------------------------------


def check_devices(backend: str, devices: Mapping[str, DeviceGroup]) -> None:
    """Raise an error if device files for the containers of ``backend`` are missing."""
    wanted = {"amd": ("/dev/kfd", "/dev/dri"), "intel": ("/dev/dri",)}.get(backend, ())
    absent = [path for path in wanted if path not in devices]
    if absent:
        raise GpuError(
            "the backend is %s, and this host lacks %s" % (backend, " and ".join(absent)),
            code="GPU_DEVICE_MISSING",
            where=absent[0],
            hint="load the driver (amdgpu with its kfd part, i915 or xe), or choose --gpu none",
        )


def check_toolkit(engine: Engine, look: EngineLook, driver: str) -> None:
    """Raise an error unless the engine has NVIDIA's runtime and the CDI file fits the driver."""
    defects = [] if "nvidia" in engine["runtimes"] else ["the engine has no runtime nvidia"]
    if cdi_is_due(look["cdi_text"], driver):
        defects.append("%s does not describe driver %s" % (CDI_FILE, driver or "(unknown)"))
    if defects:
        raise GpuError(
            "NVIDIA's container toolkit does not work: " + "; ".join(defects),
            code="GPU_TOOLKIT",
            where=CDI_FILE,
            hint="check with 'nvidia-ctk cdi list' and 'docker info'",
        )


def driver_version(host: Facts) -> str:
    """Return the version of NVIDIA's driver from the facts; empty if there is none."""
    for gpu in host.get("gpus") or []:
        version = (gpu.get("driver") or {}).get("version")
        if gpu.get("vendor") == "nvidia" and version:
            return str(version)
    return ""


def cdi_is_due(text: Optional[str], driver: str) -> bool:
    """Return whether the CDI file is missing or describes another driver version (U-28).

    The file lists the driver's libraries, whose names end in the driver's version.
    """
    if text is None:
        return True
    versions = set(re.findall(r"libcuda\.so\.(\d[\d.]*\d)", text))
    return bool(driver) and versions != {driver}
