"""Names on a managed host that several packages use: units, directories, labels."""

from __future__ import annotations

#: The unit that the models role writes; a test keeps it equal to the role's name.
UPGRADE_UNIT = "dream-runner-upgrade.service"

#: The name of the same program on a host without systemd (background.py), and its scope in
#: receipts, where a unit has ``system`` or ``user``.
UPGRADE_PROGRAM, BACKGROUND = "dream-runner-upgrade", "background"

#: Below the install directory: the upgrade program and its document.
UPGRADE_FOLDER = "upgrade"

#: Where logind records the users whose services run without a login.
LINGER_DIRECTORY = "/var/lib/systemd/linger/"

#: Where systemd reads the units that this host's administrator, or a role, has written.
SYSTEM_UNITS = "/etc/systemd/system"

#: Tools are looked up only here, so that the caller's PATH cannot replace them.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: The label that shows which version of its configuration files a container has read.
FILES_LABEL = "dream-runner.files"

#: Compose's own labels, which identify our containers.
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
HASH_LABEL = "com.docker.compose.config-hash"
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"


def former(path: str) -> str:
    """Return where the former package directory is kept until the new one is known to work."""
    return path + ".former"
