"""Choose the source of a container engine: packages and signed repositories. Pure."""

from __future__ import annotations

import re
from typing import Collection, Dict, List, Mapping, Sequence, Tuple

from ..errors import EngineError
from ..types.engine import Engine, EngineLook, EngineSource, Repository
from ..types.facts import Os
from .engine_identity import found, has_compose

#: Names with our prefix, so that uninstall finds the files and no other file is replaced.
_APT_KEY = "/etc/apt/keyrings/dream-runner-%s.gpg"
_APT_LIST = "/etc/apt/sources.list.d/dream-runner-%s.sources"
_APT_PIN = "/etc/apt/preferences.d/dream-runner-%s"
_RPM_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-dream-runner-%s"
_RPM_LIST = "/etc/yum.repos.d/dream-runner-%s.repo"
UPSTREAM_PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")

#: The releases that Docker's apt repository has.
_SUITES = {
    ("debian", "11"): "bullseye",
    ("debian", "12"): "bookworm",
    ("debian", "13"): "trixie",
    ("ubuntu", "22.04"): "jammy",
    ("ubuntu", "24.04"): "noble",
}

#: Docker's names of the rpm distributions that it supports.
_RPM_NAMES = {
    "fedora": "fedora",
    "rhel": "rhel",
    "centos": "centos",
    "rocky": "centos",
    "almalinux": "centos",
    "ol": "centos",
}

_RPM_PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}

#: The distribution's packages of engine and compose 2, by family; () if it lacks one of them.
_DISTRIBUTION_PACKAGES = {
    "arch": ("docker", "docker-compose"),
    "suse": ("docker", "docker-compose"),
    "void": ("docker", "docker-compose"),
    "alpine": ("docker", "docker-cli-compose"),
}

#: Packages that provide an engine or a stand-in for one, and their origin.
ENGINE_PACKAGES = {
    "docker-ce": "upstream",
    "docker.io": "distro",
    "moby-engine": "distro",
    "docker": "distro",
    # The client packages, which stay if only the engine was removed.
    "docker-cli": "distro",
    "docker-ce-cli": "upstream",
    "podman-docker": "podman",
}

_HINT = "see https://docs.docker.com/engine/install/, then run again; or use --profile native"


def distribution_packages(system: Os) -> Tuple[str, ...]:
    """Return the packages of engine and compose 2, or () if the distribution lacks one."""
    family, name = str(system.get("family")), str(system.get("id"))
    major = int(re.sub(r"\D.*", "", str(system.get("version_id") or "")) or 0)
    if family == "debian":
        if name != "debian":
            return ("docker.io", "docker-compose-v2")
        # Debian 12 has no compose 2; Debian 13 has the client in a separate package.
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
    """Return ``{source, packages, why}`` of the installation; "" and [] if nothing is needed.

    An installed engine is kept. If it lacks compose, compose comes from the same origin as the
    engine, because the two origins conflict. With ``offline`` only the packages in ``bundled`` are
    available. Raises EngineError if no engine can be provided.
    """
    if engine["kind"] in ("docker", "denied") and has_compose(engine):
        return {"source": "", "packages": [], "why": "%s is installed" % found(engine, look)}
    origins = {ENGINE_PACKAGES[name] for name in look.get("installed") or []}
    origin, why = _origin(setting, origins, bool(distribution_packages(system)), system)
    packages = upstream_packages(system) if origin == "upstream" else distribution_packages(system)
    if offline and origin and not set(packages) <= set(bundled):
        lacking = ", ".join(name for name in packages if name not in bundled)
        origin, why = "", "of --offline, and no bundle has %s" % lacking
    if engine["kind"] in ("silent", "docker", "denied") and not origins:
        origin, why = "", "the installed engine did not come from a known package"
    if origin and not packages:
        why = "there is no package for %s" % system.get("pretty_name")
    if not origin or not packages:
        # If there is a client, the engine may only have to be started.
        if engine["kind"] == "silent" and has_compose(engine):
            return {"source": "", "packages": [], "why": "it is installed but not running"}
        raise EngineError(
            "needed: a Docker engine with compose 2; found: %s. It cannot be installed because %s"
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
        return "upstream", "the engine is from Docker's repository"
    if "distro" in origins:
        return (
            ("distro", "the engine is from the distribution")
            if is_packaged
            else (
                "",
                "the engine is docker.io of %s, which has no compose 2 (remove docker.io to get "
                "Docker's packages)" % system.get("pretty_name"),
            )
        )
    if setting == "upstream" or (setting == "auto" and not is_packaged):
        return "upstream", "%s lacks one of them" % system.get("pretty_name")
    if not is_packaged:
        return "", "%s lacks one of the packages, and --docker-source is distro" % system.get(
            "pretty_name"
        )
    return "distro", "the distribution has both packages"


def upstream_packages(system: Os) -> Tuple[str, ...]:
    """Return Docker's own packages, or () if Docker does not support this system."""
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
    """Return the signed repository ``name`` for this system, in the form for ``dream_repository``.

    ``offers`` has url, key and fingerprint for ``apt`` and for ``rpm``; ``{system}`` and ``{arch}``
    in an address are replaced. ``flat`` means not divided by releases. ``avoid`` lists engine
    versions that later upgrades must not install either (U-30).
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
