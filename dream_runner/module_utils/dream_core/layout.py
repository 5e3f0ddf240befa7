"""Names on a managed host that several rooms use: units, folders, labels."""

from __future__ import annotations

#: Written by the models role, kept running by systemd; a test keeps it equal to the role's.
UPGRADE_UNIT = "dream-runner-upgrade.service"

#: The name of the same program where systemd does not keep it running (background.py), and the
#: scope that stands for this in receipts, where a unit has ``system`` or ``user``.
UPGRADE_PROGRAM, BACKGROUND = "dream-runner-upgrade", "background"

#: Below the install directory: the program and the document that tells it what to do.
UPGRADE_FOLDER = "upgrade"

#: Where logind remembers whose services run without a login.
LINGER_DIRECTORY = "/var/lib/systemd/linger/"

#: Tools are looked up here and nowhere else, so that a caller's PATH cannot
#: put another program in their place.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: The label by which a container is known to have read its present configuration files.
FILES_LABEL = "dream-runner.files"

#: Compose's own labels, by which a container is known to be ours.
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
HASH_LABEL = "com.docker.compose.config-hash"
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"


def former(path: str) -> str:
    """Return where a directory of packages waits until its successor has proved itself."""
    return path + ".former"
