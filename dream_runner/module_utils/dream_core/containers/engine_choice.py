"""What a container engine is, where one comes from and how it should be configured. Pure.

``docker_host`` looks, this decides, the role does. An engine is known by what
its API says of itself: Podman installs a program called docker (K6).
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ..errors import DreamError, EngineError, GpuError
from . import daemon_options

Look = Mapping[str, Any]

CDI_FILE = "/etc/cdi/nvidia.yaml"
#: Names of ours, so that uninstall finds them and nobody else's is replaced.
_APT_KEY = "/etc/apt/keyrings/dream-runner-%s.gpg"
_APT_LIST = "/etc/apt/sources.list.d/dream-runner-%s.sources"
_APT_PIN = "/etc/apt/preferences.d/dream-runner-%s"
_RPM_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-dream-runner-%s"
_RPM_LIST = "/etc/yum.repos.d/dream-runner-%s.repo"

UPSTREAM_PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")
TOOLKIT_PACKAGES = ("nvidia-container-toolkit",)
#: Release names that a repository for apt is divided by; Docker serves these.
_SUITES = {
    ("debian", "11"): "bullseye",
    ("debian", "12"): "bookworm",
    ("debian", "13"): "trixie",
    ("ubuntu", "22.04"): "jammy",
    ("ubuntu", "24.04"): "noble",
}
#: What Docker calls the rpm distributions it serves.
_RPM_NAMES = {
    "fedora": "fedora",
    "rhel": "rhel",
    "centos": "centos",
    "rocky": "centos",
    "almalinux": "centos",
    "ol": "centos",
}
_RPM_PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}
#: Engine and compose 2 as the distribution names them, by family; () where it has not both.
_DISTRIBUTION_PACKAGES = {
    "arch": ("docker", "docker-compose"),
    "suse": ("docker", "docker-compose"),
    "void": ("docker", "docker-compose"),
    "alpine": ("docker", "docker-cli-compose"),
}
#: Packages that bring an engine or something that poses as one, and where they are from.
ENGINE_PACKAGES = {
    "docker-ce": "upstream",
    "docker.io": "distro",
    "moby-engine": "distro",
    "docker": "distro",
    # The clients, which are left where somebody removed the engine.
    "docker-cli": "distro",
    "docker-ce-cli": "upstream",
    "podman-docker": "podman",
}
_HINT = "see https://docs.docker.com/engine/install/, then run again; or use --profile native"

#: Engines that must not be used. ``backend`` empty: for everybody.
KNOWN_BAD = (
    {
        "engine": "29.3.",
        "backend": "amd",
        "why": "breaks the passing of AMD's devices into containers",
        "use": "29.2.1, or 29.4 and later",
    },
)


# --- who is there -----------------------------------------------------------------


def identify(look: Look) -> Dict[str, Any]:
    """Return ``{kind, version, compose, root_dir, runtimes, store, holds}`` of what answers.

    ``kind`` is ``docker``, ``podman``, ``denied`` (it is there, this login may
    not talk to it), ``silent`` (a program but no answer) or ``none``.
    """
    info, version = look.get("info") or {}, look.get("version") or {}
    answer: Dict[str, Any] = {
        "kind": _kind(look, info, version),
        "version": str(info.get("ServerVersion") or ""),
        "compose": _compose_version(str(look.get("compose") or "")),
        "root_dir": str(info.get("DockerRootDir") or ""),
        "runtimes": sorted(info.get("Runtimes") or {}),
        "store": _store(info),
        "holds": int(info.get("Images") or 0) + int(info.get("Containers") or 0),
    }
    if answer["kind"] == "podman":
        answer["version"] = str(
            (info.get("version") or {}).get("Version") or info.get("ServerVersion") or ""
        )
    return answer


def _kind(look: Look, info: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    if not look.get("program"):
        return "none"
    components = (version.get("Server") or {}).get("Components") or []
    names = [str(item.get("Name")) for item in components]
    # The shim answers in Podman's own form; a real client may talk to Podman's socket.
    if "host" in info or any("Podman" in name for name in names):
        return "podman"
    if info.get("ServerVersion"):
        return "docker"
    return "denied" if "permission denied" in str(look.get("problem")).lower() else "silent"


def _store(info: Mapping[str, Any]) -> str:
    """Return where images live: ``containerd`` (pulls resume) or ``graphdriver``."""
    status = dict(item for item in info.get("DriverStatus") or [] if len(item) == 2)
    is_containerd = "containerd.snapshotter" in str(status.get("driver-type"))
    return "containerd" if is_containerd else "graphdriver" if info.get("Driver") else ""


def _compose_version(text: str) -> str:
    found = re.search(r"\d+\.\d+[\w.+~-]*", text)
    return found.group(0) if found else ""


def has_compose(engine: Mapping[str, Any]) -> bool:
    """Tell whether ``docker compose`` has version 2 or later."""
    return int(str(engine.get("compose") or "0").split(".")[0] or 0) >= 2


def found(engine: Mapping[str, Any], look: Look) -> str:
    """Return in words what is there."""
    what = {
        "docker": "engine " + str(engine["version"]),
        "podman": "Podman %s in place of Docker" % engine["version"],
        "denied": "an engine that refuses this login",
        "silent": "an engine that does not answer (%s)" % str(look.get("problem") or "").strip(),
        "none": "no engine",
    }[str(engine["kind"])]
    return "%s, compose %s" % (what, engine["compose"] or "missing")


def refusal(
    engine: Mapping[str, Any], look: Look, backend: str, *, ready: bool = False
) -> Optional[DreamError]:
    """Return why what is there cannot be used, or None. ``ready``: it should work by now."""
    if engine["kind"] == "podman":
        return EngineError(
            "needed: a Docker engine; found: %s" % found(engine, look),
            code="DOCKER_IS_PODMAN",
            hint="compose waits for health for ever with Podman without its timers: remove"
            " podman-docker (Podman itself may stay) and run again",
        )
    bad = known_bad(str(engine["version"]), backend)
    if bad:
        return EngineError(
            "engine %s %s" % (engine["version"], bad["why"]),
            code="DOCKER_KNOWN_BAD",
            hint="install version %s of it, then run again" % bad["use"],
        )
    if ready and not (engine["kind"] == "docker" and has_compose(engine)):
        return EngineError(
            "needed: a Docker engine with compose 2; found: %s" % found(engine, look),
            code="DOCKER_NOT_READY",
            hint="look with: journalctl -u docker; without systemd start it by hand",
        )
    return None


def known_bad(version: str, backend: str) -> Optional[Mapping[str, str]]:
    """Return the row of the table that speaks against this version here."""
    for row in KNOWN_BAD:
        if version.startswith(row["engine"]) and row["backend"] in ("", backend):
            return row
    return None


# --- where it comes from ------------------------------------------------------------


def distribution_packages(system: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return the packages of engine and compose 2, or () where the distribution lacks one."""
    family, name = str(system.get("family")), str(system.get("id"))
    major = int(re.sub(r"\D.*", "", str(system.get("version_id") or "")) or 0)
    if family == "debian":
        if name != "debian":
            return ("docker.io", "docker-compose-v2")
        # Debian 12 has no compose 2; 13 split the client off.
        return ("docker.io", "docker-cli", "docker-compose") if major >= 13 else ()
    if name == "fedora":
        return ("moby-engine", "docker-cli", "docker-compose")
    return _DISTRIBUTION_PACKAGES.get(family, ())


def source(
    setting: str,
    engine: Mapping[str, Any],
    look: Look,
    system: Mapping[str, Any],
    *,
    offline: bool,
    bundled: Collection[str] = (),
) -> Dict[str, Any]:
    """Return ``{source, packages, why}`` of what has to be installed; "" and [] for nothing.

    What is there stays: an engine that lacks compose gets it from where the
    engine is from, for the two origins exclude each other. ``offline``, only what
    ``bundled`` names is to be had. Raises EngineError where nothing can be provided.
    """
    if engine["kind"] in ("docker", "denied") and has_compose(engine):
        return {"source": "", "packages": [], "why": "%s is there" % found(engine, look)}
    origins = {ENGINE_PACKAGES[name] for name in look.get("installed") or []}
    origin, why = _origin(setting, origins, bool(distribution_packages(system)), system)
    packages = upstream_packages(system) if origin == "upstream" else distribution_packages(system)
    if offline and origin and not set(packages) <= set(bundled):
        lacking = ", ".join(name for name in packages if name not in bundled)
        origin, why = "", "of --offline, and no bundle here has %s" % lacking
    if engine["kind"] in ("silent", "docker", "denied") and not origins:
        origin, why = "", "the engine that is there came from no package known here"
    if origin and not packages:
        why = "nobody packages it for %s" % system.get("pretty_name")
    if not origin or not packages:
        # With a program there may be an engine that only has to be started.
        if engine["kind"] == "silent" and has_compose(engine):
            return {"source": "", "packages": [], "why": "it only has to be started"}
        raise EngineError(
            "needed: a Docker engine with compose 2; found: %s. It is not installed, because %s"
            % (found(engine, look), why),
            code="DOCKER_NOT_PROVIDED",
            hint=_HINT,
        )
    return {"source": origin, "packages": list(packages), "why": why}


def _origin(
    setting: str, origins: Collection[str], is_packaged: bool, system: Mapping[str, Any]
) -> Tuple[str, str]:
    if setting == "skip":
        return "", "--docker-source is skip"
    if "upstream" in origins:
        return "upstream", "the engine is Docker's own"
    if "distro" in origins:
        return (
            ("distro", "the engine is the distribution's")
            if is_packaged
            else (
                "",
                "the engine is docker.io of %s, which has no compose 2 (remove docker.io to get"
                " Docker's own)" % system.get("pretty_name"),
            )
        )
    if setting == "upstream" or (setting == "auto" and not is_packaged):
        return "upstream", "%s has not both" % system.get("pretty_name")
    if not is_packaged:
        return "", "%s has no packages of both, and --docker-source is distro" % system.get(
            "pretty_name"
        )
    return "distro", "the distribution has both"


def upstream_packages(system: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return Docker's own packages, or () for a system that Docker does not serve."""
    served = _suite(system) or _RPM_NAMES.get(str(system.get("id")))
    return UPSTREAM_PACKAGES if served else ()


def _suite(system: Mapping[str, Any]) -> str:
    name, version = str(system.get("id")), str(system.get("version_id"))
    short = version.split(".")[0] if name == "debian" else version
    return _SUITES.get((name, short), "")


def repository(
    name: str,
    offers: Mapping[str, Mapping[str, str]],
    system: Mapping[str, Any],
    arch: str,
    *,
    flat: bool = False,
    avoid: Sequence[str] = (),
) -> Dict[str, Any]:
    """Return the signed repository ``name`` for this system, as ``dream_repository`` takes it.

    ``offers`` has url, key and fingerprint for ``apt`` and for ``rpm``; ``{system}`` and
    ``{arch}`` in an address are this system's. ``flat``: not divided by releases. ``avoid``
    are versions of the engine that no upgrade of tomorrow may bring either (U-30).
    """
    kind = "apt" if system.get("family") == "debian" else "rpm"
    called = str(system.get("id")) if kind == "apt" else _RPM_NAMES.get(str(system.get("id")), "")
    processor = arch if kind == "apt" else _RPM_PROCESSORS.get(arch, arch)
    offer = {
        word: text.replace("{system}", called).replace("{arch}", processor).rstrip("/")
        for word, text in offers[kind].items()
    }
    make = _apt_files if kind == "apt" else _rpm_files
    key = (_APT_KEY if kind == "apt" else _RPM_KEY) % name
    return {
        "name": name,
        "kind": kind,
        "url": offer["url"],
        "key_url": offer["key"],
        "key": key,
        "fingerprints": [offer["fingerprint"]],
        "files": make(name, offer["url"], key, "" if flat else _suite(system), avoid),
    }


def _apt_files(
    name: str, url: str, key: str, suite: str, avoid: Sequence[str]
) -> List[Dict[str, str]]:
    lines = ["Types: deb", "URIs: " + url, "Suites: " + (suite or "/")]
    lines += ["Components: stable"] if suite else []
    files = [{"path": _APT_LIST % name, "content": "\n".join([*lines, "Signed-By: " + key, ""])}]
    if avoid:
        files.append({"path": _APT_PIN % name, "content": "\n".join(_pins(avoid))})
    return files


def _rpm_files(
    name: str, url: str, key: str, suite: str, avoid: Sequence[str]
) -> List[Dict[str, str]]:
    lines = [
        "[dream-runner-%s]" % name,
        "name=dream-runner: %s" % name,
        "baseurl=" + url,
        "enabled=1",
        "gpgcheck=1",
        "gpgkey=file://" + key,
    ]
    if avoid:
        lines.append("excludepkgs=" + ",".join("docker-ce*-%s*" % version for version in avoid))
    return [{"path": _RPM_LIST % name, "content": "\n".join([*lines, ""])}]


def _pins(versions: Sequence[str]) -> List[str]:
    lines = []
    for version in versions:
        lines += [
            "Package: docker-ce docker-ce-cli",
            "Pin: version *:%s*" % version,
            "Pin-Priority: -1",
            "",
        ]
    return lines


def bad_versions(backend: str) -> List[str]:
    """Return the beginnings of versions that must not be installed for ``backend``."""
    return [row["engine"] for row in KNOWN_BAD if row["backend"] in ("", backend)]


# --- all of it ------------------------------------------------------------------------


def plan(request: Mapping[str, Any], look: Look) -> Dict[str, Any]:
    """Return all that is to be done, and raise the first thing that stands against it.

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


def _daemon(request: Mapping[str, Any], engine: Mapping[str, Any], look: Look) -> Dict[str, Any]:
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
        # Somebody's way to write the same is left alone.
        "content": daemon_options.render(merged["options"])
        if is_changed
        else look["daemon_text"] or "",
        "ours": merged["ours"],
        "kept": merged["kept"],
    }


def _repositories(request: Mapping[str, Any], origin: str, look: Look) -> List[Dict[str, Any]]:
    """Return the repositories that have to be here first; under any name they count as here."""
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


def _toolkit(request: Mapping[str, Any], look: Look) -> Dict[str, Any]:
    """Return what NVIDIA's toolkit needs: ``{packages, cdi}``; nothing for other backends."""
    if request["backend"] != "nvidia":
        return {"packages": [], "cdi": False}
    return {
        "packages": [] if look["toolkit"] else list(TOOLKIT_PACKAGES),
        "cdi": cdi_is_due(look["cdi_text"], str(request["driver"])),
    }


# --- devices -----------------------------------------------------------------------


def check_devices(backend: str, devices: Mapping[str, Any]) -> None:
    """Raise where the device files that containers of ``backend`` get are not there."""
    wanted = {"amd": ("/dev/kfd", "/dev/dri"), "intel": ("/dev/dri",)}.get(backend, ())
    absent = [path for path in wanted if path not in devices]
    if absent:
        raise GpuError(
            "the backend is %s, and %s is not on this host" % (backend, " and ".join(absent)),
            code="GPU_DEVICE_MISSING",
            where=absent[0],
            hint="load the driver (amdgpu with its kfd part, i915 or xe), or choose --gpu none",
        )


def check_toolkit(engine: Mapping[str, Any], look: Look, driver: str) -> None:
    """Raise where NVIDIA's part does not do its work: the engine's runtime and the CDI file."""
    defects = [] if "nvidia" in engine["runtimes"] else ["the engine has no runtime nvidia"]
    if cdi_is_due(look["cdi_text"], driver):
        defects.append("%s does not describe driver %s" % (CDI_FILE, driver or "(unknown)"))
    if defects:
        raise GpuError(
            "NVIDIA's container toolkit does not do its work: " + "; ".join(defects),
            code="GPU_TOOLKIT",
            where=CDI_FILE,
            hint="look with: nvidia-ctk cdi list; docker info",
        )


def driver_version(host: Mapping[str, Any]) -> str:
    """Return the version of NVIDIA's driver by the facts; empty when there is none."""
    for gpu in host.get("gpus") or []:
        version = (gpu.get("driver") or {}).get("version")
        if gpu.get("vendor") == "nvidia" and version:
            return str(version)
    return ""


def cdi_is_due(text: Optional[str], driver: str) -> bool:
    """Tell whether the file of NVIDIA's devices is absent or of another driver (U-28).

    It names the driver's libraries, and those end in the driver's version.
    """
    if text is None:
        return True
    versions = set(re.findall(r"libcuda\.so\.(\d[\d.]*\d)", text))
    return bool(driver) and versions != {driver}
