"""Values of settings: as given, as chosen with their origin, and as saved by earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ..module_utils.dream_core.types.settings import SettingValues
from .table import VARIABLE_PREFIX


@dataclass(frozen=True)
class Given:
    """A raw value and where it was given: ``--tier``, ``DREAM_TIER``, ``a.yml: tier``."""

    raw: Any
    where: str
    origin: str


@dataclass(frozen=True)
class Chosen:
    """A valid value with its origin; ``source`` is flag, environment or answers if saved."""

    value: Any
    origin: str
    where: str
    source: str = ""


@dataclass(frozen=True)
class Settings:
    """All settings, valid, each with its origin; ``notes`` are lines for the user."""

    chosen: Mapping[str, Chosen]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.chosen[name].value

    def values(self) -> SettingValues:
        """Return the values by name."""
        return cast("SettingValues", {name: item.value for name, item in self.chosen.items()})

    def without(self, name: str, word: str) -> Settings:
        """Return the settings without ``word`` in a list; an empty list becomes the default."""
        before = self.chosen[name]
        left = [item for item in before.value if item != word]
        after = replace(before, value=left) if left else Chosen([], "default", "default")
        return replace(self, chosen={**self.chosen, name: after})

    def said(self) -> dict[str, Chosen]:
        """Return the settings that were chosen, now or earlier: all except defaults."""
        return {name: item for name, item in self.chosen.items() if item.origin != "default"}


@dataclass(frozen=True)
class Saved:
    """The choices of earlier runs; ``sources`` tells which came from an answers file."""

    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def as_ansible_vars(settings: Settings) -> dict[str, Any]:
    """Return the settings as the variables of the playbooks."""
    return {VARIABLE_PREFIX + name: value for name, value in settings.values().items()}
