"""Check memory, disk space per filesystem, ports and system packages.

``look_requirements`` reads the host; ``check`` evaluates the result and is pure.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from ..errors import RequirementError
from ..network.listeners import holder, listeners
from ..system import ip_addresses
from ..system.filesystems import allocated_bytes, filesystem, lines
from ..system.ip_addresses import addresses, is_everywhere
from ..system.kernel import available_memory_mb
from ..types.choice import Choice
from ..types.facts import Facts
from ..types.finding import DiskNeed, Finding, Needs, RequirementProbes
from ..types.host import Session
from ..types.settings import SettingValues
from . import versions
from .finding import can_become, finding
from .ports import choose_port, is_free, published

#: A host sold with 16 GB reports less: firmware and kernel reserve some.
MEMORY_TOLERANCE = 0.9

_MB = 1024 * 1024
#: With its package lists, apt would download packages that the bundle has in the same version.
_NO_SOURCES = "-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null"


def check(
    settings: SettingValues,
    facts: Facts,
    session: Session,
    choice: Choice,
    need: Needs,
    probes: RequirementProbes,
) -> List[Finding]:
    """Return the findings about the requirements; ``need`` comes from ``needs``."""
    found = _memory(need, settings, facts, probes)
    disk = probes.get("disk") or []
    found += _disk(int(settings.get("disk_reserve_mb") or 0), disk) or _tier_disk(
        int(need.get("disk_wanted_mb") or 0), disk
    )
    found += _address(settings, choice, probes)
    found += _port(settings, session, choice, probes)
    found += stack_findings(choice, probes)
    changes = choice.get("data_changes") or ()
    found += versions.findings(changes, str(settings["install_dir"])) if changes else []
    found += check_packages(settings, session, probes.get("missing_packages") or [])
    return found


def usable_memory_mb(settings: SettingValues, facts: Facts) -> Optional[int]:
    """Return the usable memory in MiB: the host's or the cgroup's, and at most the user's limit."""
    known = [(facts.get("memory") or {}).get("usable_mb"), settings.get("memory_limit_mb")]
    return min((int(size) for size in known if size), default=None)


def _memory(
    need: Needs,
    settings: SettingValues,
    facts: Facts,
    probes: RequirementProbes,
) -> List[Finding]:
    have = usable_memory_mb(settings, facts)
    if have is None:
        return [finding("memory", "warning", "the memory size is unknown")]
    if have < need["memory_mb"] * MEMORY_TOLERANCE:
        return [
            finding(
                "memory",
                "blocker",
                "not enough memory",
                needed="%d MB" % need["memory_mb"],
                found="%d MB" % have,
                hint="choose a smaller model or --profile native, raise --memory-limit-mb if you "
                "set it, or use --accept memory",
                code="MEMORY_TOO_SMALL",
            )
        ]
    if have < need["memory_wanted_mb"] * MEMORY_TOLERANCE:
        return [
            finding(
                "memory",
                "warning",
                "this host has less memory than its tier requires and may be slow",
                needed="%d MB" % need["memory_wanted_mb"],
                found="%d MB" % have,
            )
        ]
    available = probes.get("available_mb")
    if available is not None and available < need["memory_mb"] // 2:
        return [
            finding(
                "memory",
                "warning",
                "other programs are using most of the memory",
                found="%d MB available" % available,
            )
        ]
    return []


def _disk(reserve_mb: int, wanted: Sequence[DiskNeed]) -> List[Finding]:
    """Add up the needs of each filesystem, minus what is already there."""
    groups: Dict[Any, List[DiskNeed]] = {}
    for item in wanted:
        if item.get("free_bytes") is not None:
            groups.setdefault(item["device"], []).append(item)
    return [found for items in groups.values() for found in _one_filesystem(reserve_mb, items)]


def _one_filesystem(reserve_mb: int, items: Sequence[DiskNeed]) -> List[Finding]:
    missing = [max(0, item["mb"] - item["there_bytes"] // _MB) for item in items]
    free = (items[0]["free_bytes"] or 0) // _MB
    if not sum(missing) or free >= sum(missing) + reserve_mb:
        # If nothing more is written, a full disk is no reason to refuse.
        return []
    parts = ["%s %d MB" % (item["what"], mb) for item, mb in zip(items, missing) if mb]
    return [
        finding(
            "disk",
            "blocker",
            "not enough disk on %s" % items[0]["mount"],
            needed="%d MB (%s, reserve %d MB)"
            % (sum(missing) + reserve_mb, ", ".join(parts), reserve_mb),
            found="%d MB free" % free,
            hint="free some space, choose an --install-dir on a larger filesystem, or lower"
            " --disk-reserve-mb",
            error="DiskError",
            code="DISK_FULL",
        )
    ]


def _tier_disk(wanted_mb: int, disk: Sequence[DiskNeed]) -> List[Finding]:
    """Warn about a first install on a filesystem that the models of the tier may fill."""
    model = next((item for item in disk if item["what"] == "the model"), None)
    is_first = any(item["what"] == "images" for item in disk)
    if not wanted_mb or not is_first or model is None or model.get("free_bytes") is None:
        return []
    have = ((model["free_bytes"] or 0) + model["there_bytes"]) // _MB
    if have >= wanted_mb:
        return []
    return [
        finding(
            "disk",
            "warning",
            "%s has less free space than this tier requires; other models may not fit"
            % model["mount"],
            needed="%d MB" % wanted_mb,
            found="%d MB free" % have,
        )
    ]


def _address(settings: SettingValues, choice: Choice, probes: RequirementProbes) -> List[Finding]:
    """Reject an address that this host lacks, or on which containers cannot publish a port."""
    address = str(settings.get("bind_address") or "")
    if "%" in address and choice.get("profile") == "full":
        return [
            finding(
                "address",
                "blocker",
                "containers cannot publish a port on the link-local address %s" % address,
                hint="choose another --bind-address, or --profile native",
                code="ADDRESS_UNUSABLE",
            )
        ]
    if probes.get("has_address", True):
        return []
    wanted = "a loopback address" if is_everywhere(address) else address
    return [
        finding(
            "address",
            "blocker",
            "the model cannot listen on %s: this host does not have that address" % wanted,
            needed=address,
            found=", ".join(probes.get("addresses") or ()) or "no address",
            hint="choose one with --bind-address IP; 'ip address' lists the addresses of this host",
            code="ADDRESS_MISSING",
        )
    ]


def _port(
    settings: SettingValues,
    session: Session,
    choice: Choice,
    probes: RequirementProbes,
) -> List[Finding]:
    """Check the chosen port again: another program may have taken it since."""
    port = int(choice.get("engine_port") or 0)
    if not port:
        return []
    address = choice.get("engine_address") or settings.get("bind_address") or "127.0.0.1"
    try:
        choose_port(
            port,
            probes.get("previous_port"),
            probes.get("listeners") or [],
            bind_address=str(address),
        )
    except RequirementError as error:
        return [finding("port", "blocker", error.what, hint=error.hint, code=error.code)]
    if port < int(probes.get("first_free_port") or 0) and not session.get("is_root"):
        return [
            finding(
                "port",
                "blocker",
                "only root may listen on port %d" % port,
                needed="port %d or higher" % probes["first_free_port"],
                hint="choose another --engine-port",
                error="PrivilegeError",
                code="PORT_PRIVILEGED",
            )
        ]
    return []


def stack_findings(choice: Choice, probes: RequirementProbes) -> List[Finding]:
    """Check the images (pinned, for this architecture) and the ports of the services (U-26)."""
    stack = choice.get("stack") or {}
    found = [
        finding("images", "blocker", item["what"], hint=item["hint"], code=item["code"], final=True)
        for item in stack.get("problems") or ()
    ]
    listeners = probes.get("listeners") or []
    had = probes.get("previous_ports") or {}
    for item in published(choice):
        if not is_free(item["port"], had.get(item["key"]), listeners, str(item["address"])):
            other = next(entry for entry in listeners if entry["port"] == item["port"])
            found.append(
                finding(
                    "port",
                    "blocker",
                    "port %d for %s is in use by %s"
                    % (item["port"], item["service"], holder(other)),
                    hint="run again to choose a free port, or stop that program",
                    code="PORT_TAKEN",
                )
            )
    return found


def check_packages(
    settings: SettingValues, session: Session, missing: Sequence[str]
) -> List[Finding]:
    """Report missing system packages if the role cannot install them.

    The role itself checks whether a bundle has them.
    """
    names = " ".join(missing)
    if missing and settings.get("offline") and not (settings.get("bundle") and can_become(session)):
        return [
            finding(
                "packages",
                "blocker",
                "offline, but required system packages are missing",
                needed=names,
                hint="as root: apt-get install -y %s %s/debs/*.deb"
                % (_NO_SOURCES, settings["bundle"])
                if settings.get("bundle")
                else "install them, or run once without --offline",
                code="OFFLINE_ARTEFACT_MISSING",
            )
        ]
    if not missing or can_become(session):
        return []
    return [
        finding(
            "packages",
            "blocker",
            "required system packages are missing, and this user cannot install them",
            needed=names,
            found="sudo: %s" % session.get("sudo"),
            hint="ask an administrator to install: %s; everything else works without root" % names,
            error="PrivilegeError",
            code="SUDO_NEEDED",
        )
    ]


def look_requirements(
    disk: Sequence[DiskNeed],
    ports: Sequence[int],
    *,
    bind_address: str = "127.0.0.1",
    own_paths: Sequence[str] = (),
    own_units: Sequence[str] = (),
) -> RequirementProbes:
    """Return the probes for ``requirements.check``, for the disk needs and the chosen ports."""
    return {
        "has_address": ip_addresses.has(bind_address),
        "addresses": [*ip_addresses.loopbacks(), *addresses()],
        "disk": [_fill_need(item) for item in disk],
        "listeners": listeners(ports, own_paths=own_paths, own_units=own_units),
        "available_mb": available_memory_mb(),
        "first_free_port": int(
            "".join(lines("/proc/sys/net/ipv4/ip_unprivileged_port_start")[:1]) or 1024
        ),
    }


def _fill_need(item: DiskNeed) -> DiskNeed:
    place = filesystem(item["path"])
    free, wanted = place["free_bytes"], item["mb"] * 1024 * 1024
    # Counting a tree is slow and matters only if space is short. The shortcut holds while at most
    # ten needs of this size share the filesystem.
    plenty = free is not None and free > 10 * (wanted + 1024**3)
    there = 0 if plenty else sum(allocated_bytes(path) for path in item.get("there", ()))
    return {
        **item,
        "there_bytes": there,
        "device": place["device"],
        "mount": place["mount"],
        "free_bytes": free,
    }
