"""What every kind of resource has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple, Optional, Sequence

from ..system import tools
from ..types.resource import Resource, Seen

if TYPE_CHECKING:
    from .observed_host import Host


#: How closely to observe: never read content; read files without a valid stamp; read all.
GLANCE, LOOK, READ = range(3)


def name_of(resource: Resource) -> str:
    """Return a name of the resource for people."""
    label = resource.get("path") or resource.get("name") or resource.get("user")
    label = label or resource.get("service") or resource.get("reference")
    if resource["kind"] == "supervisor":
        label = resource["program"]
    if resource["kind"] == "background":
        label = resource["name"]
    if resource["kind"] == "port":
        label = "%s:%s" % (resource.get("address", "127.0.0.1"), resource["port"])
    return "%s %s" % (resource["kind"], label)


class Kind(NamedTuple):
    """A kind of resource: how it is observed and removed.

    ``remove`` is None if nothing has to be done. ``can_precede_us`` is False for names that only an
    install creates. ``is_precious``: kept by an uninstall without ``--purge``.
    """

    observe: Callable[[Resource, "Host", int], Seen]
    remove: Optional[Callable[[Resource], None]] = None
    can_precede_us: bool = True
    is_precious: bool = False


class Cannot(Exception):
    """A resource cannot be removed; the message is the reason."""


def run_or_keep(argv: Sequence[str]) -> None:
    """Run a program; raise Cannot with its reason if it is missing or fails."""
    program = tools.path_of(argv[0])
    if not program:
        raise Cannot("%s is not installed" % argv[0])
    done = tools.run([program, *argv[1:]])
    if done.status != 0:
        raise Cannot(done.errors.strip() or "%s failed" % argv[0])
