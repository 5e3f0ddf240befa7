"""Decide for one host from its observed state; used by the plan and by the play."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.dream_core.records import due_phases
from ..module_utils.dream_core.types.choice import Choice, Header
from ..module_utils.dream_core.types.look import Look
from ..module_utils.dream_core.types.receipt import Wanted
from ..module_utils.dream_core.types.settings import SettingValues
from ..version import __version__
from . import role_inputs
from .decision import decide


def decide_for(
    look: Look,
    settings: SettingValues,
    catalog: Any,
    *,
    in_fleet: bool = False,
    described: Header | None = None,
) -> Choice:
    """Return ``dream_choice`` for the host that ``look`` observed.

    ``described`` is the header of a model file that the user named. Raises the same errors as
    ``decision.decide``.
    """
    return decide(
        settings,
        look["facts"],
        look["session"],
        catalog,
        look["receipts"],
        look["listeners"],
        held=look["held"],
        bundled=look["bundled"],
        in_fleet=in_fleet,
        described=described,
    )


def inputs_for(
    look: Look,
    settings: SettingValues,
    choice: Choice,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Wanted]:
    """Return the inputs of every phase; ``overrides`` replace defaults of roles."""
    return role_inputs.wanted(settings, choice, look["facts"], look["session"], overrides)


def due_for(
    look: Look,
    settings: SettingValues,
    inputs: Mapping[str, Wanted],
    *,
    full: bool = False,
    is_silent: bool = False,
) -> dict[str, due_phases.Reason]:
    """Return why each phase runs or not. ``is_silent``: the engine did not answer."""
    return due_phases.decide(
        look["receipts"],
        due_phases.add_unresponsive_engine(look["drift"], is_silent),
        inputs,
        install_dir=str(settings["install_dir"]),
        version=__version__,
        full=full,
    )
