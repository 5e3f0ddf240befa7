"""Check a host for the phases that only inspect it (library/dream_check.py)."""

from __future__ import annotations

import glob
import os
import re
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Sequence, cast

from ..errors import DreamError
from ..fetch.disk.stamp import is_present
from ..fetch.sources.local import local_path
from ..native.venv import choose_python
from ..packages import installed
from ..system import kernel
from ..system.filesystems import parts_of
from ..types.choice import Choice, ModelFile
from ..types.finding import CheckAnswer, CheckRequest, Finding
from ..types.receipt import Receipts
from ..types.settings import SettingValues
from ..upgrade import progress
from . import amd_tuning, needed_size, preflight, requirements
from .finding import can_become, error_of, finding, sentence
from .ports import published


def judge(parameters: Mapping[str, Any], may_write: bool) -> CheckAnswer:
    """Return the result and the warnings of the module dream_check for its parameters."""
    request: CheckRequest = {"choice": {}, "receipts": {}, "packages": {}, "python": ""}
    request.update(cast("CheckRequest", parameters))
    request["may_write"] = may_write
    request["settings"] = {
        **request["settings"],
        # The setting may be ``auto``; the decision has the profile.
        "profile": request["choice"].get("profile") or request["settings"]["profile"],
        "force": request.get("force", False),
        "install_dir": os.path.abspath(os.path.expanduser(request["settings"]["install_dir"])),
    }
    try:
        answer = examine(request)
        error = error_of(answer["findings"], request["settings"].get("accept") or [])
    except DreamError as problem:
        answer, error = {}, problem
    result: CheckAnswer = {**answer, "changed": False}
    result["warnings"] = [
        sentence(item)
        for item in answer.get("findings", [])
        if item["severity"] == "warning" or item["id"] in answer["accepted"]
    ]
    if error:
        result["failed"] = True
        result["msg"] = str(error)
        result["dream_error"] = error.to_dict()
    return result


def examine(request: CheckRequest) -> CheckAnswer:
    """Return ``{findings, accepted, ...}`` for ``request["phase"]``.

    ``request`` has phase, settings, host, session, choice, receipts, state_dir
    and may_write; packages and python for requirements.
    """
    answer = PHASES[request["phase"]](request)
    accepted = set(request["settings"].get("accept") or [])
    answer["accepted"] = sorted(
        {f["id"] for f in answer["findings"] if f["severity"] == "blocker"} & accepted
    )
    return answer


def _preflight(request: CheckRequest) -> CheckAnswer:
    settings, session = request["settings"], request["session"]
    probes = preflight.look_preflight(
        settings["install_dir"], session["home"], time.time(), may_write=request["may_write"]
    )
    place = probes["install_dir"]
    return {
        "findings": preflight.check(
            settings, request["host"], session, request["receipts"], probes
        ),
        "filesystem": {"type": place["fstype"], "mount": place["mount"]},
    }


def _requirements(request: CheckRequest) -> CheckAnswer:
    settings, receipts = request["settings"], request["receipts"]
    need = needed_size.needs(
        settings, request["choice"], request["state_dir"], _done(receipts, settings)
    )
    probes = requirements.look_requirements(
        need["disk"],
        _ports(request["choice"]),
        bind_address=str(settings.get("bind_address") or "127.0.0.1"),
        own_paths=[settings["install_dir"], request["state_dir"]],
        own_units=_units(receipts),
    )
    missing = missing_requirements(request)
    before = receipts.get("requirements", {}).get("facts") or {}
    probes["previous_port"] = before.get("engine_port")
    probes["previous_ports"] = {
        **(before.get("ports") or {}),
        "OLLAMA_PORT": before.get("engine_port"),
    }
    probes["missing_packages"] = sorted({request["packages"].get(name, name) for name in missing})
    findings = requirements.check(
        settings, request["host"], request["session"], request["choice"], need, probes
    )
    if "venv" not in missing:
        findings += _webui_python(request)
    return {
        "findings": findings,
        "missing_packages": probes["missing_packages"],
        "interrupted_packages": installed.is_dpkg_interrupted(),
        "memory_mb": requirements.usable_memory_mb(settings, request["host"]),
    }


def _webui_python(request: CheckRequest) -> List[Finding]:
    """Report a host without a Python that Open WebUI's packages are for."""
    app = request["choice"].get("webui")
    if not app:
        return []
    candidates = [request["python"], sys.executable]
    try:
        choose_python(candidates, dict(os.environ), app["pythons"])
    except DreamError as error:
        return [
            finding(
                "webui",
                "blocker",
                "Open WebUI needs another Python",
                needed="Python " + " or ".join(app["pythons"]),
                found=error.what,
                hint="install one of them, or choose --webui no",
                code=error.code,
            )
        ]
    return []


def _ports(choice: Choice) -> List[int]:
    """Return every port that this install will listen on."""
    return sorted({choice["engine_port"], *(item["port"] for item in published(choice))})


def _done(receipts: Receipts, settings: SettingValues) -> List[str]:
    """Return the phases that have finished in this install directory."""
    home = settings["install_dir"]
    return [
        name
        for name, receipt in receipts.items()
        if receipt.get("state") == "done" and receipt.get("install_dir") == home
    ]


def _units(receipts: Receipts) -> List[str]:
    return [
        resource["name"]
        for receipt in receipts.values()
        for resource in receipt.get("resources") or []
        if resource.get("kind") == "unit"
    ]


def missing_requirements(request: CheckRequest) -> List[str]:
    """Return the tools and libraries that this host lacks, which packages provide."""
    urls = [
        url for item in progress.choice_files(request["choice"]) for url in item.get("urls") or []
    ]
    missing = []
    if request["settings"]["profile"] == "native":
        if not kernel.can_load("libgomp.so.1"):
            missing.append("libgomp")
        if not kernel.can_make_environments(request["python"]):
            missing.append("venv")
    if any(url.startswith(("https:", "wheel:")) for url in urls) and not kernel.has_certificates():
        missing.append("certificates")
    return missing


def _detection(request: CheckRequest) -> CheckAnswer:
    """Evaluate the hardware findings: an error blocks only if the user chose that backend."""
    forced = request["settings"].get("gpu") or "auto"
    findings = [
        finding(
            str(item["id"]),
            "blocker"
            if item["severity"] == "error" and forced not in ("auto", "none")
            else "warning",
            item["what"],
            hint=item.get("hint") or "",
            error="GpuError",
            code=str(item["id"]),
        )
        for item in request["host"].get("findings") or []
        if item["severity"] in ("error", "warning")
    ]
    usable = {gpu["vendor"] for gpu in request["host"].get("gpus") or [] if gpu.get("usable")}
    if forced not in ("auto", "none") and forced not in usable:
        findings.append(_no_gpu(forced))
    # A broken card of another vendor does not block the chosen backend.
    return {"findings": findings if forced not in usable else _soften(findings)}


def _no_gpu(vendor: str) -> Finding:
    return finding(
        "gpu",
        "blocker",
        "this host has no usable %s GPU" % vendor,
        hint="run 'dream-runner facts' to see the detected hardware, or use --gpu auto",
        error="GpuError",
        code="GPU_NOT_USABLE",
    )


def _soften(findings: Sequence[Finding]) -> List[Finding]:
    return [{**item, "severity": "warning"} for item in findings]


def _offline(request: CheckRequest) -> CheckAnswer:
    """Check that every artefact is available without a network."""
    settings, home = request["settings"], request["settings"]["install_dir"]
    bundle = settings.get("bundle") or ""
    findings, proved = [], []
    for item in progress.first_files(request["choice"]):
        where = _model_at(item, home, bundle, request["may_write"])
        if where:
            proved.append("%s: %s" % (item["file"], where))
        else:
            findings.append(_absent("the model file %s" % item["file"], "models/%s" % item["file"]))
    if settings["profile"] == "native":
        engine = os.path.join(home, "engine", "venv")
        wheels = glob.glob(os.path.join(bundle, "wheels", "xllamacpp-*.whl")) if bundle else []
        if os.path.exists(os.path.join(engine, "bin", "python")):
            proved.append("engine: %s" % engine)
        elif wheels:
            proved.append("engine: %s" % wheels[0])
        else:
            findings.append(_absent("the engine's environment %s" % engine, "wheels/"))
        app = request["choice"].get("webui")
        if app:
            where = _webui_at(app["version"], home, bundle)
            proved += ["Open WebUI: %s" % where] if where else []
            findings += [] if where else [_absent("Open WebUI %s" % app["version"], "wheels/")]
    return {"findings": findings, "proved": proved}


def _webui_at(version: str, home: str, bundle: str) -> str:
    """Return the environment with this version of Open WebUI, or its wheel in the bundle."""
    known = "open_webui-%s" % version
    site = os.path.join(glob.escape(home), "webui", "venv", "lib", "python3*", "site-packages")
    places = glob.glob(os.path.join(site, known + ".dist-info"))
    if bundle:
        places += glob.glob(os.path.join(glob.escape(bundle), "wheels", known + "-*.whl"))
    return next(iter(places), "")


def _model_at(item: ModelFile, home: str, bundle: str, may_write: bool) -> str:
    """Return the path of a verified model file, identified by its digest and not by its name."""
    size = item.get("size_bytes") or 0
    place = os.path.join(home, "data", "models", item["file"])
    places = [place, *(url for url in item.get("urls") or [] if url.startswith("file:")), bundle]
    for source in filter(None, places):
        path = local_path(source, item["file"], item["sha256"]) or source
        parts = parts_of(path)
        if len(parts) > 1 and size == sum(map(os.path.getsize, parts)):
            # The parts are joined while they are read, and verified then.
            return path
        if is_present(path, item["sha256"], size, write=may_write and path == place).present:
            return path
    return ""


def _absent(what: str, in_bundle: str) -> Finding:
    return finding(
        "offline",
        "blocker",
        "offline, but this host lacks %s" % what,
        hint="run once without --offline, or use --bundle DIR with a bundle that has %s"
        % in_bundle,
        code="OFFLINE_ARTEFACT_MISSING",
    )


def _amd_tuning(request: CheckRequest) -> CheckAnswer:
    """Return the tuning for this host, what is not in force, and what needs a reboot."""
    plan = amd_tuning.plan(request["host"], request["choice"], request["session"])
    pending = amd_tuning.pending(plan, kernel.module_parameters(amd_tuning.MODULES))
    values = {name: kernel.sysctl(name) for name in plan["sysctl"]}
    return {
        "findings": [],
        "plan": plan,
        "sysctl_pending": amd_tuning.not_in_force(plan, values),
        "reboot_pending": pending,
    }


def _packages(request: CheckRequest) -> CheckAnswer:
    """Return which of the named packages are not installed."""
    names = sorted(request["packages"])
    family = str((request["host"].get("os") or {}).get("family"))
    wrong = [name for name in names if not _PACKAGE_NAME.match(name)]
    findings = [
        finding(
            "packages",
            "blocker",
            "%r is not a package name" % name,
            error="UsageError",
            code="PACKAGE_NAME",
        )
        for name in wrong
    ]
    missing = [] if wrong else installed.missing_packages(names, family)
    if missing and not can_become(request["session"]):
        findings += requirements.check_packages(request["settings"], request["session"], missing)
    return {
        "findings": findings,
        "missing_packages": missing,
        "interrupted_packages": installed.is_dpkg_interrupted(),
    }


#: Names that every family allows; the package manager would take a leading dash for an option.
_PACKAGE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9+._-]*$")

PHASES: Dict[str, Callable[[CheckRequest], CheckAnswer]] = {
    "preflight": _preflight,
    "detection": _detection,
    "requirements": _requirements,
    "offline": _offline,
    "amd_tuning": _amd_tuning,
    "packages": _packages,
}
