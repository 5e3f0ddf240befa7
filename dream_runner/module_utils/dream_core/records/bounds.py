"""Decide whether a record may lead to a change of the host, with the reason if not.

A receipt is a file that can be changed, damaged or copied from elsewhere, and it names its own
directory. It is therefore checked against the host and the account: the mark in the directory, its
owner and depth, the name of a unit and the directory in the unit's own file, and the account that
runs the program. System directories are always refused. Uninstall, rollback and the upgrade program
use these checks.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from typing import Any, Callable, Dict, List, Optional

from ..containers import daemon_options
from ..fetch.disk.stamp import is_present
from ..layout import SYSTEM_UNITS
from ..system.filesystems import mounts_below
from ..types.resource import Resource
from . import install_mark

#: Directories that belong to the system; an install directory is never one of them.
SYSTEM_DIRS = frozenset(
    "/" + name
    for name in (
        *("", "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt"),
        *("proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "usr/local", "var"),
        *("var/lib", "var/tmp"),
    )
)
#: Trees that must not contain an install directory at any depth.
SYSTEM_TREES = tuple(
    "/%s/" % name
    for name in (
        *("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys"),
        *("usr/bin", "usr/lib", "usr/sbin", "usr/share"),
    )
)
#: Directories outside the install directory that may contain our files, by name.
SYSTEM_FOLDERS = (SYSTEM_UNITS, "/etc/sysctl.d", "/etc/modprobe.d", "/etc/udev/rules.d")
_USER_UNITS = ".config/systemd/user"
_OWN_FILE = re.compile(r"(\d\d-)?dream-runner(-[a-z]+)*\.(conf|rules|service)")
_OWN_UNIT = re.compile(r"dream-runner(-[a-z]+)+\.service")
#: The compose projects that the roles create; a test compares them with the catalogue.
PROJECTS = ("dream-runner", "dream-runner-trial")
_GROUP = "docker"
_DIGEST = re.compile(r"(\S+@)?sha256:[0-9a-f]{64}")
#: Packages that the roles install; any other package must be listed in the mark.
PACKAGES = frozenset(("libgomp1", "python3-venv", "ca-certificates"))
#: Packages that a host needs to work. No install brings one of them.
_VITAL_PACKAGE = re.compile(
    r"python3(\.\d+)?(-minimal)?|sudo|systemd.*|openssh-.*|libc6|dpkg|apt|bash|dash|coreutils"
    r"|util-linux|mount|login|passwd|init.*|linux-.*|docker.*|containerd.*|grub.*|network-manager"
)
#: Directories of volatile files in an install directory that existed before the install.
_LAYOUT = ("config", "data", "engine", "logs", "run", "supervisor", "upgrade", "webui")
#: Directories of packages that belong to the install as a whole.
_TREES = (["engine", "venv"], ["webui", "venv"], ["webui", "wheels"])
_UNIT_FILE_LIMIT = 64 * 1024


def is_system(path: str) -> bool:
    """Return whether ``path`` belongs to the system and cannot be an install directory."""
    return path in SYSTEM_DIRS or (path + "/").startswith(SYSTEM_TREES)


class Bounds:
    """The changes that records of one install directory may cause, for the current account."""

    def __init__(self, install_dir: Any, home: str, units: str = SYSTEM_UNITS) -> None:
        self._units = units
        self.install_dir = install_dir if isinstance(install_dir, str) else ""
        self._home = os.path.realpath(home)
        self._root = os.path.realpath(self.install_dir) if self.install_dir else ""
        self._why_no_root = self._refuse_root()
        mark = None if self._why_no_root else install_mark.read(self.install_dir)
        self._listed: Optional[List[Any]] = None if mark is None else mark["made"]
        if not self._why_no_root and mark is None:
            self._why_no_root = self._refuse_unmarked_root()

    # --- the install directory itself

    def _refuse_root(self) -> str:
        path, root = self.install_dir, self._root
        is_plain = os.path.normpath(path) == path and not path.startswith("//")
        if not (os.path.isabs(path) and is_plain and path.isprintable()):
            return "the record names no install directory"
        if is_system(root) or is_system(path):
            return "%s belongs to the system" % root
        if root == self._home or self._home.startswith(root + "/"):
            return "%s is a home directory" % root
        return ""

    def _refuse_unmarked_root(self) -> str:
        # One level below / is a system directory, one level below /home somebody's home.
        if self._root.count("/") < 2 or os.path.dirname(self._root) == "/home":
            return "%s has no dream-runner install mark" % self._root
        try:
            owner = os.stat(self._root).st_uid
        except OSError:
            return ""  # Nothing is left to remove.
        mine = owner == os.geteuid()
        return (
            ""
            if mine
            else "%s belongs to another user and has no dream-runner install mark" % self._root
        )

    # --- resources

    def refusal(self, resource: Resource, state: str = "done") -> str:
        """Return why a record must not lead to a change of ``resource``, or an empty string.

        ``state`` is the state of its receipt: an interrupted phase has not yet added its resources
        to the mark.
        """
        return RULES[resource["kind"]](self, resource, state)

    def place_of(self, path: Any) -> str:
        """Return why dream-runner never writes to ``path``, or an empty string.

        Links in the path of its directory are resolved first.
        """
        if not isinstance(path, str) or not os.path.isabs(path) or not path.isprintable():
            return "its path is invalid"
        if ".." in path.split("/"):
            return _OUTSIDE
        parent = os.path.realpath(os.path.dirname(path))
        real = os.path.join(parent, os.path.basename(path))
        if self._is_below(real):
            return self._why_no_root
        is_ours = parent in self._folders() and _OWN_FILE.fullmatch(os.path.basename(path))
        return "" if is_ours else _OUTSIDE

    def _is_below(self, real: str) -> bool:
        return bool(self._root) and (real == self._root or real.startswith(self._root + "/"))

    def _folders(self) -> List[str]:
        return [
            self._units,
            *SYSTEM_FOLDERS,
            os.path.realpath(os.path.join(self._home, _USER_UNITS)),
        ]

    def _path(self, resource: Resource, state: str) -> str:
        path = resource["path"]
        why = self.place_of(path)
        if why:
            return why
        if os.path.basename(path).endswith(".service") and not self._is_below(path):
            return self._unit_file(path)
        return self._proof(resource)

    def _directory(self, resource: Resource, state: str) -> str:
        # It is removed only if it is empty, and a system directory only if the install created it.
        return "" if resource["path"] in SYSTEM_FOLDERS else self.place_of(resource["path"])

    def _tree(self, resource: Resource, state: str) -> str:
        path = str(resource["path"])
        why = self.place_of(path)
        if why:
            return why
        if os.path.realpath(path) == self._root or not self._is_below(os.path.realpath(path)):
            # The removal itself refuses a link, with a better message.
            return "" if os.path.islink(path) else "only paths in an install directory are removed"
        return self._proof(resource)

    def _proof(self, resource: Resource) -> str:
        """Return why nothing else on the host proves that a resource without a mark is ours."""
        path = str(resource["path"])
        if not os.path.lexists(path):
            return ""
        mounted = mounts_below(os.path.dirname(path), self._root)
        if self._listed is not None and not mounted:
            return ""
        # A separate disk for the data is common; files on it may belong to others.
        is_file = resource["kind"] in ("file", "model")
        by_place = not (mounted and is_file) and self._is_of_the_layout(resource)
        if by_place or self._is_as_left(resource):
            return ""
        where = (
            "%s is a mount point" % mounted[0]
            if mounted
            else "nothing shows that dream-runner created it"
        )
        return "%s, and it has changed since the install" % where

    def _is_as_left(self, resource: Resource) -> bool:
        """Return whether a file, model or tree is unchanged since our work ended."""
        from ..resources import observed_host
        from . import survey

        if resource.get("origin") == "found":
            return True  # originals.py compares restored files with their record.
        path = str(resource["path"])
        if os.path.isdir(path) and not os.listdir(path):
            return True
        is_comparable = resource["kind"] != "data" and not resource.get("volatile")
        if not is_comparable or not isinstance(resource.get("seen"), dict):
            return False
        present: Resource = {**resource, "coming": False}
        return survey.drift(present, observed_host.Host([resource])) is None

    def _is_of_the_layout(self, resource: Resource) -> bool:
        inner = os.path.relpath(os.path.realpath(str(resource["path"])), self._root).split("/")
        if resource["kind"] == "tree":
            return inner in _TREES
        if resource["kind"] == "model":
            return _is_model(resource)
        if resource["kind"] == "data":
            return inner[0] == "data" and len(inner) > 1
        passing = resource.get("volatile") or resource.get("coming") or resource.get("secret")
        is_known = inner[0] in _LAYOUT or inner in (["docker-compose.yml"], [".env"])
        return bool(is_known and (passing or not isinstance(resource.get("seen"), dict)))

    def _options(self, resource: Resource, state: str) -> str:
        path = str(resource["path"])
        folder = os.path.dirname(path)
        if path != daemon_options.DAEMON_FILE or os.path.realpath(folder) != folder:
            return _OUTSIDE
        return "" if isinstance(resource.get("set"), dict) else "it lists no options"

    def _unit(self, resource: Resource, state: str) -> str:
        name = str(resource["name"])
        folder = {"system": self._units, "user": os.path.join(self._home, _USER_UNITS)}
        if not _OWN_UNIT.fullmatch(name) or resource["scope"] not in folder:
            return "dream-runner has no unit of that name"
        return self._unit_file(os.path.join(folder[str(resource["scope"])], name))

    def _unit_file(self, path: str) -> str:
        """Return the install directory of a unit's file, if it is another one."""
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                return "its file is not a regular file"
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read(_UNIT_FILE_LIMIT)
        except OSError:
            return ""  # Already removed; the manager may still know the unit.
        found = re.findall(r"^WorkingDirectory=(.*)$", text, re.M)
        is_other = found and self.install_dir.replace("%", "%%") not in found
        return "its file names another directory: %s" % found[0] if is_other else ""

    def _supervisor(self, resource: Resource, state: str) -> str:
        config = resource["config"]
        for folder in ("", "webui"):
            if config == os.path.join(self.install_dir, folder, "supervisor", "supervisord.conf"):
                return self.place_of(config)
        return _OUTSIDE

    def _background(self, resource: Resource, state: str) -> str:
        folder = os.path.join(self.install_dir, "upgrade")
        places = (str(resource["program"]), str(resource["path"]))
        is_ours = all(os.path.dirname(place) == folder for place in places)
        return self.place_of(folder) if is_ours else _OUTSIDE

    def _linger(self, resource: Resource, state: str) -> str:
        return self._of_account(resource["user"])

    def _group(self, resource: Resource, state: str) -> str:
        if resource["group"] != _GROUP:
            return "dream-runner does not change that group"
        return self._of_account(resource["user"])

    def _of_account(self, user: Any) -> str:
        return "" if user == account_name() else "it belongs to user %s" % user

    def _package(self, resource: Resource, state: str) -> str:
        name = str(resource["name"])
        if _VITAL_PACKAGE.fullmatch(name):
            return "the host needs it"
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            return "it is not a package name"
        is_known = name in PACKAGES or self._is_listed(("package", name))
        return "" if is_known else "nothing shows that dream-runner installed it"

    def _is_listed(self, identity: Any) -> bool:
        return self._listed is not None and list(identity) in self._listed

    def _image(self, resource: Resource, state: str) -> str:
        names = [resource["reference"], *filter(None, [resource.get("also")])]
        if not all(isinstance(name, str) and _DIGEST.fullmatch(name) for name in names):
            return "only images with a digest are removed"
        is_known = self._listed is None or state != "done"
        if is_known or self._is_listed(("image", resource["reference"])):
            return ""
        return "nothing shows that dream-runner installed it"

    def _container(self, resource: Resource, state: str) -> str:
        return (
            "" if resource["project"] in PROJECTS else "its project does not belong to dream-runner"
        )

    def _of_project(self, resource: Resource, state: str) -> str:
        is_ours = any(str(resource["name"]).startswith(name + "_") for name in PROJECTS)
        return "" if is_ours else "its project does not belong to dream-runner"

    def _nothing(self, resource: Resource, state: str) -> str:
        return ""


_OUTSIDE = "it is outside the directories of an install"

RULES: Dict[str, Callable[[Bounds, Resource, str], str]] = {
    "file": Bounds._path,
    "model": Bounds._path,
    "directory": Bounds._directory,
    "tree": Bounds._tree,
    "data": Bounds._tree,
    "options": Bounds._options,
    "unit": Bounds._unit,
    "supervisor": Bounds._supervisor,
    "background": Bounds._background,
    "linger": Bounds._linger,
    "group": Bounds._group,
    "package": Bounds._package,
    "image": Bounds._image,
    "container": Bounds._container,
    "network": Bounds._of_project,
    "volume": Bounds._of_project,
    # Both are removed with their program or file.
    "port": Bounds._nothing,
    "sysctl": Bounds._nothing,
}


def _is_model(resource: Resource) -> bool:
    """Return whether a regular file has the size or the content of the model that was recorded."""
    path = str(resource["path"])
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or not path.endswith(".gguf"):
        return False
    same_size = resource.get("size_bytes") == status.st_size
    return same_size or is_present(path, str(resource.get("sha256")), write=False).present


def account_name() -> str:
    """Return the name of the current account."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
