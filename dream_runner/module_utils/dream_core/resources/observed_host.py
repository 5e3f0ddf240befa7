"""What is asked of a host for many resources at once."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Iterable, List, Optional

from ..containers import engine_objects
from ..network import listeners
from ..packages.installed import installed
from ..system.systemd import shown_units
from ..types import Resource


class Host:
    """What is asked for many resources at once, asked once and only when needed."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._resources = list(resources)
        self._listeners: Optional[List[Dict[str, Any]]] = None
        self._packages: Optional[FrozenSet[str]] = None
        self._units: Dict[str, Dict[str, Dict[str, str]]] = {}
        self.engine = engine_objects.Engine(self._resources)

    def listens(self, port: int) -> bool:
        """Tell whether anything on this host listens on TCP ``port``."""
        if self._listeners is None:
            self._listeners = listeners.listeners()
        return any(item["port"] == port for item in self._listeners)

    def has_package(self, name: str) -> bool:
        """Tell whether the package is installed, by the host's own package database."""
        if self._packages is None:
            self._packages = installed(self._named("package"))
        return name in self._packages

    def unit(self, scope: str, name: str) -> Dict[str, str]:
        """Return what systemd shows of a unit of ``scope``; empty where there is no systemd."""
        if scope not in self._units:
            self._units[scope] = shown_units(scope, self._named("unit", scope))
        return self._units[scope].get(name, {})

    def _named(self, kind: str, scope: str = "") -> List[str]:
        return sorted(
            {
                item["name"]
                for item in self._resources
                if item["kind"] == kind and item.get("scope", "") == scope
            }
        )
