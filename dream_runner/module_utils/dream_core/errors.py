"""The exceptions of dream-runner, as one tree.

    DreamError                    1  unexpected, a bug
    ├── UsageError                2  a setting, flag or file the user gave is wrong
    ├── RequirementError          3  the host does not meet a requirement
    ├── PrivilegeError            4  root, sudo or a permission is missing
    ├── NetworkError              5  the network or a server failed
    ├── DiskError                 6  no space, read-only, input/output error
    ├── IntegrityError            7  digest, size or catalogue does not match
    ├── EngineError               8  container or inference engine
    ├── GpuError                  9  GPU or driver
    ├── RebootRequired           10  reboot, then run again
    ├── Degraded                 11  an optional service failed
    ├── BusyError                12  another run is active
    ├── FleetError               13  some hosts of a fleet failed
    └── Interrupted             130  stopped by the user, resumable

The numbers are the exit codes of DESIGN.md section 8. A module hands an error
to the wrapper as ``to_dict()`` under the key ``dream_error`` of its result.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Type

from .redact import clean

#: Messages are for people; longer values are shortened.
_LONGEST_WHAT, _LONGEST_WHERE = 4000, 1000


class DreamError(Exception):
    """A failure with a message and a hint about what to do.

    ``code`` is a stable upper-case identifier (``PORT_TAKEN``): it names the
    entry in docs/user/troubleshooting.md and never changes its meaning.
    """

    exit_code = 1
    #: The message is another program's; the end of the log gives details.
    is_foreign = False

    def __init__(self, what: str, *, code: str, where: str = "", hint: str = "") -> None:
        # Both may quote another program, a server or a file.
        what, where = clean(what, _LONGEST_WHAT), clean(where, _LONGEST_WHERE)
        super().__init__(what)
        self.what = what
        self.code = code
        self.where = where
        self.hint = hint

    def to_dict(self) -> Dict[str, Any]:
        """Return the error as plain data; ``from_dict`` is its inverse."""
        return {
            "class": type(self).__name__,
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class UsageError(DreamError):
    """A setting, flag, answers file or inventory is wrong."""

    exit_code = 2


class RequirementError(DreamError):
    """The host does not meet a requirement."""

    exit_code = 3


class PrivilegeError(DreamError):
    """An action requires rights that this user lacks."""

    exit_code = 4


class NetworkError(DreamError):
    """A server or the connection to it failed."""

    exit_code = 5


class DiskError(DreamError):
    """A filesystem is full, read-only or broken."""

    exit_code = 6


class IntegrityError(DreamError):
    """Data does not match its digest, its size or the catalogue."""

    exit_code = 7


class EngineError(DreamError):
    """The container engine or the inference engine failed."""

    exit_code = 8


class GpuError(DreamError):
    """The requested GPU or its driver is not usable."""

    exit_code = 9


class RebootRequired(DreamError):
    """A change takes effect at the next boot; the user reboots and runs again."""

    exit_code = 10


class Degraded(DreamError):
    """The core works, but an optional service does not."""

    exit_code = 11


class BusyError(DreamError):
    """Another run is working on this target."""

    exit_code = 12


class FleetError(DreamError):
    """Some hosts of a fleet failed."""

    exit_code = 13


class Interrupted(DreamError):
    """The user stopped the run; the next run continues it."""

    exit_code = 130


CLASSES: Dict[str, Type[DreamError]] = {
    cls.__name__: cls
    for cls in (
        DreamError,
        UsageError,
        RequirementError,
        PrivilegeError,
        NetworkError,
        DiskError,
        IntegrityError,
        EngineError,
        GpuError,
        RebootRequired,
        Degraded,
        BusyError,
        FleetError,
        Interrupted,
    )
}


def from_dict(data: Any) -> Optional[DreamError]:
    """Return the error that ``to_dict`` described; None if ``data`` is anything else."""
    if not isinstance(data, dict) or "what" not in data or "code" not in data:
        return None
    cls = CLASSES.get(str(data.get("class")), DreamError)
    return cls(
        str(data["what"]),
        code=str(data["code"]),
        where=str(data.get("where", "")),
        hint=str(data.get("hint", "")),
    )
