"""Check whether an install on this host is possible at all.

``look_preflight`` reads the host; ``check`` evaluates the result and is pure.
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

#: Filesystems that ignore modes: the secrets file would be readable by everybody.
MODELESS = frozenset(
    ("vfat", "msdos", "fat", "exfat", "ntfs", "ntfs3", "ntfs-3g", "fuseblk", "9p", "drvfs", "v9fs")
)
#: Network filesystems: locks and renames work, but everything stops while the server is down.
REMOTE = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.smbnetfs", "fuse.glusterfs", "ocfs2")
)
#: Distribution families with glibc whose packages the roles know.
FAMILIES = frozenset(("debian", "redhat", "arch", "suse"))
#: The oldest kernel of a supported distribution (RHEL 8); WSL 1 calls itself 4.4.
OLDEST_KERNEL = (4, 18)
#: No current certificate is valid before the first (2025-01-01) or after the second (2100-01-01).
SANE_CLOCK = (1735689600, 4102444800)
#: Directories that can never be an install directory, whatever a setting says.
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
    """Return the preflight findings for this host, blockers first."""
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
                "this distribution is not tested; dream-runner will not install system packages "
                "on it",
                found=name,
                code="OS_UNSUPPORTED",
            )
        )
    if arch not in ("amd64", "arm64"):
        found.append(
            finding(
                "architecture",
                "blocker",
                "the engine does not support this processor",
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
            hint="in WSL run: wsl --set-version DISTRO 2; elsewhere update the system",
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
            "the system clock is wrong; server certificates cannot be verified",
            needed="the current date",
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
                "%s is not a dedicated directory for dream-runner" % path,
                needed="a dedicated directory, such as %s" % os.path.join(path, "dream-runner"),
                error="UsageError",
                code="INSTALL_DIR_UNUSABLE",
            )
        ]
    if not place["is_directory"]:
        return [
            finding(
                "install-dir",
                "blocker",
                "%s is not a directory, so the install directory cannot be created"
                % place["existing"],
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
    # The directories phase restores the mode of our own directories.
    if not place["writable"] and not place.get("own"):
        return [
            finding(
                "install-dir",
                "blocker",
                "%s cannot write to %s" % (session.get("user", "this user"), place["existing"]),
                hint="choose another --install-dir, or ask an administrator for write access",
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
                "programs cannot run from the filesystem of %s" % place["path"],
                needed="a filesystem without noexec",
                found="%s is mounted noexec" % place["mount"],
                hint="choose an --install-dir on another filesystem",
            )
        ]
    # supervisord's socket is in the install directory.
    names = ("chmod", "symlink", "case", *(("socket",) if is_native else ()))
    broken = [name for name in names if tried.get(name) is False]
    if fstype in MODELESS or broken:
        return [
            finding(
                "filesystem",
                "blocker",
                "the filesystem of %s cannot protect secrets or hold a virtual environment"
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
                "%s does not support file locks; do not start concurrent runs" % place["path"],
                found=str(fstype),
            )
        ]
    if fstype in REMOTE:
        return [
            finding(
                "filesystem",
                "warning",
                "%s is on a network filesystem; models load slowly, and a network outage stops "
                "the engine" % place["path"],
                found=str(fstype),
            )
        ]
    return []


def _conflicts(
    settings: SettingValues, receipts: Receipts, probes: PreflightProbes
) -> List[Finding]:
    # With --force the user accepts an existing or conflicting install.
    severity = "warning" if settings.get("force") else "blocker"
    path = probes["install_dir"]["path"]
    found = []
    foreign = foreign_entries(path, probes.get("entries") or [], receipts)
    if foreign:
        found.append(
            finding(
                "existing-install",
                severity,
                "%s contains files that dream-runner did not create" % path,
                needed="an empty or a new directory",
                found=", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else ""),
                hint="choose another --install-dir, or use --accept existing-install",
                code="INSTALL_DIR_FOREIGN",
            )
        )
    if probes.get("old_install"):
        found.append(
            finding(
                "old-install",
                severity if settings.get("profile") == "full" else "warning",
                "another installation of this stack is at %s" % probes["old_install"],
                hint="uninstall it first; both would use the same ports",
                code="CONFLICTING_INSTALL",
            )
        )
    return found


#: The layout of an install directory (roles/directories), which identifies it if its receipts are
#: lost.
LAYOUT = frozenset(
    {".env", ".offline-mode", "config", "data", "docker-compose.yml", "engine", "logs", "run"}
    | {".dream-runner.json", "summary.json", "supervisor", "webui"}
)
_MARKS = frozenset((".dream-runner.json", ".env", "engine"))


def foreign_entries(path: str, entries: Sequence[str], receipts: Receipts) -> List[str]:
    """Return the names in an install directory that dream-runner did not create."""
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
            "the full profile requires administrator rights or a container engine",
            needed="root, sudo without a password, or a container engine this user may use",
            found="sudo: %s" % session.get("sudo"),
            hint="run as root or as a user with sudo, or use --profile native",
            error="PrivilegeError",
            code="NOT_PRIVILEGED",
        )
    ]


#: Files that identify an installation of the stack that dream-runner replaces.
_OLD_MARKS = (".env", "dream-cli", "docker-compose.yml", "data")


def look_preflight(install_dir: str, home: str, now: float, *, may_write: bool) -> PreflightProbes:
    """Return the probes for ``preflight.check``. Writes only with ``may_write``, and cleans up.

    The filesystem is tested only if its type is unknown, so that an ordinary run writes nothing.
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
