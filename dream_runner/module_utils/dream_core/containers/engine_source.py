"""Where a container engine comes from: packages and signed repositories. Pure."""

from __future__ import annotations

import re
from typing import Collection, Dict, List, Mapping, Sequence, Tuple

from ..errors import EngineError
from ..types.engine import Engine, EngineLook, EngineSource, Repository
from ..types.facts import Os
from .engine_identity import found, has_compose

#: Names of ours, so that uninstall finds them and nobody else's is replaced.
_APT_KEY = "/etc/apt/keyrings/dream-runner-%s.gpg"
_APT_LIST = "/etc/apt/sources.list.d/dream-runner-%s.sources"
_APT_PIN = "/etc/apt/preferences.d/dream-runner-%s"
_RPM_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-dream-runner-%s"
_RPM_LIST = "/etc/yum.repos.d/dream-runner-%s.repo"
UPSTREAM_PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")

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


def distribution_packages(system: Os) -> Tuple[str, ...]:
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
    engine: Engine,
    look: EngineLook,
    system: Os,
    *,
    offline: bool,
    bundled: Collection[str] = (),
) -> EngineSource:
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
    setting: str, origins: Collection[str], is_packaged: bool, system: Os
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


def upstream_packages(system: Os) -> Tuple[str, ...]:
    """Return Docker's own packages, or () for a system that Docker does not serve."""
    served = _suite(system) or _RPM_NAMES.get(str(system.get("id")))
    return UPSTREAM_PACKAGES if served else ()


def _suite(system: Os) -> str:
    name, version = str(system.get("id")), str(system.get("version_id"))
    short = version.split(".")[0] if name == "debian" else version
    return _SUITES.get((name, short), "")


def repository(
    name: str,
    offers: Mapping[str, Mapping[str, str]],
    system: Os,
    arch: str,
    *,
    flat: bool = False,
    avoid: Sequence[str] = (),
) -> Repository:
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
