"""Whether this host can be worked on at all.

``look_preflight`` reads the host; ``check`` judges what it read and is pure.
"""

from __future__ import annotations

import os
import re
from typing import Any, List, Optional, Sequence, Tuple

from ..system.atomic import TEMP_PREFIX
from ..system.filesystems import SOUND_FILESYSTEMS, filesystem, names_in, probe_semantics
from ..types.facts import Facts, Os
from ..types.finding import Finding, PreflightProbes
from ..types.host import Filesystem, Session
from ..types.receipt import Receipts
from ..types.settings import SettingValues
from .finding import can_become, finding

#: Modes are ignored there, so that the secrets file would be readable by everybody.
MODELESS = frozenset(
    ("vfat", "msdos", "fat", "exfat", "ntfs", "ntfs3", "ntfs-3g", "fuseblk", "9p", "drvfs", "v9fs")
)
#: Locks and rename work there in theory; a lost server stops everything in practice.
REMOTE = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.smbnetfs", "fuse.glusterfs", "ocfs2")
)
#: glibc families whose packages the roles know.
FAMILIES = frozenset(("debian", "redhat", "arch", "suse"))
#: The oldest kernel of a supported distribution (RHEL 8); WSL 1 calls itself 4.4.
OLDEST_KERNEL = (4, 18)
#: No certificate of today is valid before this (2025-01-01) or after (2100-01-01).
SANE_CLOCK = (1735689600, 4102444800)
#: Directories that are never ours as a whole, whatever a setting says.
SYSTEM_DIRECTORIES = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt"}
    | {"/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib"}
    | {"/usr/local", "/usr/share", "/var", "/var/lib", "/var/log", "/var/tmp"}
)


def check(
    settings: SettingValues,
    facts: Facts,
    session: Session,
    receipts: Receipts,
    probes: PreflightProbes,
) -> List[Finding]:
    """Return everything that preflight has to say about this host, worst class first."""
    os_facts = facts.get("os") or {}
    found = _system(os_facts, facts.get("arch"), str(settings.get("profile")))
    found += _kernel(os_facts)
    found += _clock(probes.get("now"), bool(settings.get("offline")))
    unusable = _directory(settings, session, probes)
    found += unusable or _conflicts(settings, receipts, probes)
    found += _semantics(probes, str(settings.get("profile")))
    found += _privileges(settings, session, probes)
    return found


def _system(os_facts: Os, arch: Any, profile: str) -> List[Finding]:
    found = []
    family = os_facts.get("family") or "unknown"
    name = os_facts.get("pretty_name") or os_facts.get("id") or "an unknown system"
    if family == "alpine":
        found.append(
            finding(
                "os",
                "blocker" if profile == "native" else "warning",
                "the engine's packages are built for glibc",
                needed="a distribution with glibc",
                found=name,
                hint="use Debian, Ubuntu, Fedora, openSUSE or Arch",
                code="OS_UNSUPPORTED",
            )
        )
    elif family not in FAMILIES:
        found.append(
            finding(
                "os",
                "warning",
                "nobody tried this distribution; its packages will not be installed for you",
                found=name,
                code="OS_UNSUPPORTED",
            )
        )
    if arch not in ("amd64", "arm64"):
        found.append(
            finding(
                "architecture",
                "blocker",
                "there is no engine for this processor",
                needed="amd64 or arm64",
                found=str(arch),
            )
        )
    return found


def _kernel(os_facts: Os) -> List[Finding]:
    version = kernel_version(os_facts.get("kernel"))
    if version is None or version >= OLDEST_KERNEL:
        return []
    return [
        finding(
            "kernel",
            "blocker",
            "the kernel is too old",
            needed="%d.%d" % OLDEST_KERNEL,
            found=str(os_facts["kernel"]),
            hint="under WSL: wsl --set-version DISTRO 2; elsewhere: update the system",
        )
    ]


def kernel_version(text: Any) -> Optional[Tuple[int, int]]:
    """Return major and minor of a kernel release such as ``6.1.0-18-amd64``."""
    match = re.match(r"(\d+)\.(\d+)", str(text or ""))
    return (int(match.group(1)), int(match.group(2))) if match else None


def _clock(now: Any, offline: bool) -> List[Finding]:
    if now is None or SANE_CLOCK[0] <= now <= SANE_CLOCK[1]:
        return []
    return [
        finding(
            "clock",
            "warning" if offline else "blocker",
            "the clock is wrong, so that no server's certificate would be valid",
            needed="the present date",
            found="%d seconds since 1970" % now,
            hint="set the date, for example with: timedatectl set-ntp true",
        )
    ]


def _directory(settings: SettingValues, session: Session, probes: PreflightProbes) -> List[Finding]:
    place = probes["install_dir"]
    path = place["path"]
    if path in SYSTEM_DIRECTORIES or path == session.get("home"):
        return [
            finding(
                "install-dir",
                "blocker",
                "%s is not a directory of dream-runner's own" % path,
                needed="an own directory, such as %s" % os.path.join(path, "dream-runner"),
                error="UsageError",
                code="INSTALL_DIR_UNUSABLE",
            )
        ]
    if not place["is_directory"]:
        return [
            finding(
                "install-dir",
                "blocker",
                "%s is in the way of the install directory" % place["existing"],
                needed="a directory",
                found="something else",
                hint="choose another --install-dir",
                error="UsageError",
                code="INSTALL_DIR_UNUSABLE",
            )
        ]
    return _writable(place, session)


def _writable(place: Filesystem, session: Session) -> List[Finding]:
    if place["read_only"]:
        return [
            finding(
                "install-dir",
                "blocker",
                "%s is on a read-only filesystem (%s)" % (place["path"], place["mount"]),
                hint="remount it read-write, or choose another --install-dir",
                error="DiskError",
                code="READ_ONLY",
            )
        ]
    # The directories phase opens our own again.
    if not place["writable"] and not place.get("own"):
        return [
            finding(
                "install-dir",
                "blocker",
                "%s may not write to %s" % (session.get("user", "this user"), place["existing"]),
                hint="choose another --install-dir, or let an administrator give you this one",
                error="PrivilegeError",
                code="NOT_PERMITTED",
            )
        ]
    return []


def _semantics(probes: PreflightProbes, profile: str) -> List[Finding]:
    place = probes["install_dir"]
    fstype, tried = place["fstype"], probes.get("semantics") or {}
    is_native = profile != "full"
    if is_native and place.get("noexec"):
        return [
            finding(
                "filesystem",
                "blocker",
                "no program can run from the filesystem of %s" % place["path"],
                needed="a filesystem without noexec",
                found="%s is mounted noexec" % place["mount"],
                hint="choose an --install-dir on another filesystem",
            )
        ]
    # supervisord's socket lies in the install directory.
    names = ("chmod", "symlink", "case", *(("socket",) if is_native else ()))
    broken = [name for name in names if tried.get(name) is False]
    if fstype in MODELESS or broken:
        return [
            finding(
                "filesystem",
                "blocker",
                "the filesystem of %s would leave secrets readable or break the environment"
                % place["path"],
                needed="modes, links, case and sockets (ext4, xfs, btrfs, ...)",
                found="%s%s" % (fstype, " without " + " ".join(broken) if broken else ""),
                hint="choose an --install-dir on a Linux filesystem",
            )
        ]
    if tried.get("lock") is False:
        return [
            finding(
                "filesystem",
                "warning",
                "%s has no file locks; do not start two runs at once" % place["path"],
                found=str(fstype),
            )
        ]
    if fstype in REMOTE:
        return [
            finding(
                "filesystem",
                "warning",
                "%s is on a network filesystem; models load slowly, and an outage stops the engine"
                % place["path"],
                found=str(fstype),
            )
        ]
    return []


def _conflicts(
    settings: SettingValues, receipts: Receipts, probes: PreflightProbes
) -> List[Finding]:
    # --force is the user's word to go past an existing or conflicting install.
    severity = "warning" if settings.get("force") else "blocker"
    path = probes["install_dir"]["path"]
    found = []
    foreign = foreign_entries(path, probes.get("entries") or [], receipts)
    if foreign:
        found.append(
            finding(
                "existing-install",
                severity,
                "%s holds files that are not dream-runner's" % path,
                needed="an empty or a new directory",
                found=", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else ""),
                hint="choose another --install-dir, or go on with --accept existing-install",
                code="INSTALL_DIR_FOREIGN",
            )
        )
    if probes.get("old_install"):
        found.append(
            finding(
                "old-install",
                severity if settings.get("profile") == "full" else "warning",
                "another installation of this stack is at %s" % probes["old_install"],
                hint="uninstall it first: both would publish the same ports",
                code="CONFLICTING_INSTALL",
            )
        )
    return found


#: The layout of an install directory (roles/directories): how ours is known when its receipts
#: are lost.
LAYOUT = frozenset(
    {".env", ".offline-mode", "config", "data", "docker-compose.yml", "engine", "logs", "run"}
    | {".dream-runner.json", "summary.json", "supervisor"}
)
_MARKS = frozenset((".dream-runner.json", ".env", "engine"))


def foreign_entries(path: str, entries: Sequence[str], receipts: Receipts) -> List[str]:
    """Return the names in an install directory that nothing tells to be ours."""
    mine = {
        resource["path"]
        for receipt in receipts.values()
        for resource in receipt.get("resources") or []
        if resource.get("path")
    }
    if path in mine:
        return []
    known = LAYOUT if _MARKS.intersection(entries) else frozenset()
    return [
        name
        for name in entries
        if name not in known
        and not name.startswith((TEMP_PREFIX, ".env."))
        and os.path.join(path, name) not in mine
    ]


def _privileges(
    settings: SettingValues, session: Session, probes: PreflightProbes
) -> List[Finding]:
    if settings.get("profile") != "full" or can_become(session) or probes.get("docker_usable"):
        return []
    return [
        finding(
            "privilege",
            "blocker",
            "the full profile installs a container engine and manages system services",
            needed="root, sudo without a password, or a container engine this user may use",
            found="sudo: %s" % session.get("sudo"),
            hint="run as root or as a user with sudo, or use --profile native",
            error="PrivilegeError",
            code="NOT_PRIVILEGED",
        )
    ]


#: Any of them makes a directory an installation of the stack that we replace.
_OLD_MARKS = (".env", "dream-cli", "docker-compose.yml", "data")


def look_preflight(install_dir: str, home: str, now: float, *, may_write: bool) -> PreflightProbes:
    """Return what ``preflight.check`` judges. Writes only with ``may_write``, and cleans up.

    The filesystem is tried only where its type does not already tell, so that
    an ordinary run touches nothing.
    """
    place = filesystem(install_dir)
    unknown = place["fstype"] not in SOUND_FILESYSTEMS
    tried = may_write and unknown and place["writable"] and place["is_directory"]
    return {
        "install_dir": place,
        "entries": sorted(names_in(install_dir)),
        "semantics": probe_semantics(place["existing"]) if tried else None,
        "old_install": _old_install(os.path.join(home, "dream-server"), install_dir),
        "docker_usable": _docker_usable(),
        "now": now,
    }


def _old_install(path: str, install_dir: str) -> Optional[str]:
    there = any(os.path.lexists(os.path.join(path, name)) for name in _OLD_MARKS)
    return path if there and path != install_dir else None


def _docker_usable(path: str = "/var/run/docker.sock") -> bool:
    return os.path.exists(path) and os.access(path, os.R_OK | os.W_OK)
