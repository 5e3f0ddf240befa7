"""Decide whether a small model answers while the host's own is downloaded.

Pure. The small model is the catalogue's (``fast_start`` in models.yml) or the one that the
setting names. A background program (upgrader.py) then downloads the host's own model, tests it
and switches to it; the decision stays the same until that has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..catalog import entries
from ..module_utils.dream_core.document import TypedDict
from ..module_utils.dream_core.errors import DreamError
from ..module_utils.dream_core.layout import BACKGROUND, UPGRADE_PROGRAM, UPGRADE_UNIT
from ..module_utils.dream_core.types.choice import Choice, Model, Tier
from ..module_utils.dream_core.types.facts import Facts
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.settings import SettingValues
from ..module_utils.dream_core.upgrade.progress import pending
from . import models

#: A tiny model for tests; its answers are not useful.
_TEST_MODEL = "smoke"

_MB = 1_000_000
_WORDS = ("auto", "yes", "no")
_HERE = "its model is already downloaded"
_NO_SMALL = "the catalogue has no small model"


class HostState(NamedTuple):
    """What the decision needs to know of a host and its run.

    ``held`` maps the names in the models directory to their bytes on disk, partial files as
    ``NAME.part``; None if it was not checked. ``in_fleet``: other hosts get the same model in
    the same run.
    """

    supervisor: str
    receipts: Receipts
    held: Mapping[str, int] | None
    in_fleet: bool


class Keeper(TypedDict):
    """The background program of a fast start; ``scope`` is its supervisor."""

    name: str
    scope: str


class Start(NamedTuple):
    """The decision: the small model (None: no fast start), and the reason."""

    small: Model | None
    why: str


def decide(
    settings: SettingValues,
    facts: Facts,
    tier: Tier,
    catalog_models: entries.Models,
    final: Model,
    host: HostState,
) -> Start:
    """Decide whether a small model answers while ``final`` is downloaded.

    While the background program works on ``final``, the decision stays the same, so that
    another install in the meantime changes nothing.
    """
    wish = str(settings["fast_start"])
    wanted = wish if wish not in _WORDS else small_id(catalog_models)
    why_not = _reason_against(settings, host, wish) or ("" if wanted else _NO_SMALL)
    if why_not:
        return Start(None, why_not)
    if not is_pending(host.receipts, final):
        why_not = _reason_to_skip(settings, catalog_models, final, host, wish, wanted)
    if why_not:
        return Start(None, why_not)
    try:
        small = _small(settings, facts, tier, catalog_models, wanted)
    except DreamError as error:
        return Start(None, error.what)
    return Start(small, "{} answers until {} is downloaded".format(small["id"], final["id"]))


def small_id(catalog_models: entries.Models) -> str:
    """Return the id of the catalogue's small model; empty if a site's catalogue has none."""
    rule = catalog_models.get("fast_start")
    return str(rule["model"] or "") if rule else ""


def outlook(catalog_models: entries.Models, final: Model) -> str:
    """Return as text what ``auto`` decides for a model on a first install."""
    usual = small_id(catalog_models)
    if not usual:
        return _NO_SMALL
    if usual == final["id"]:
        return "this is the small model itself"
    small = models.find_model(catalog_models, usual)
    why_not = _too_small(final, small, {}, int(catalog_models["fast_start"]["at_least_mb"]))
    return why_not or f"{usual} answers until it is downloaded"


def keeper(supervisor: str) -> Keeper:
    """Return ``{name, scope}`` of the background program of a fast start."""
    if supervisor == "supervisord":
        return {"name": UPGRADE_PROGRAM, "scope": BACKGROUND}
    return {"name": UPGRADE_UNIT, "scope": "user" if supervisor == "systemd-user" else "system"}


def is_pending(receipts: Receipts, final: Model) -> bool:
    """Tell whether the background program still has to download or start ``final``."""
    return bool(pending(receipts).get("sha256") == final["sha256"])


def after(choice: Choice) -> Choice:
    """Return what ``decision.decide`` will return when the host's own model answers."""
    upgrade = choice["upgrade"]
    if upgrade is None:
        return choice
    return {
        **choice,
        "model": upgrade["model"],
        "context_tokens": upgrade["model"]["context_tokens"],
        "stack": upgrade["stack"],
        "upgrade": None,
        "fast_start": {"use": False, "why": _HERE},
    }


def _reason_against(settings: SettingValues, host: HostState, wish: str) -> str:
    """Return why this host cannot or must not have a fast start, or an empty string."""
    if wish == "no":
        return "switched off"
    if settings["offline"]:
        return "offline: nothing can be downloaded later"
    return "the downloaded models were not checked" if host.held is None else ""


def _reason_to_skip(
    settings: SettingValues,
    catalog_models: entries.Models,
    final: Model,
    host: HostState,
    wish: str,
    small: str,
) -> str:
    """Return why no fast start begins now, or an empty string."""
    held = host.held or {}
    if small == final["id"]:
        return "this is the small model itself"
    if _is_here(final, held):
        return _HERE
    serving = _serving(host.receipts, str(settings["install_dir"]))
    if serving not in ("", small):
        return f"{serving} answers until it is downloaded"
    if wish != "auto":
        return ""
    if settings["bundle"]:
        return "the bundle contains the model"
    if host.in_fleet:
        return "a fleet downloads a model only once"
    if _is_local(final):
        return "its model is a file on this machine"
    known = models.find_model(catalog_models, small)
    if not _size(final) and settings["profile"] == "native":
        # Of unknown size: use the small model, which costs little.
        return ""
    return _too_small(final, known, held, int(catalog_models["fast_start"]["at_least_mb"]))


def _is_local(model: Model) -> bool:
    """Tell whether every file has a source that needs no network."""
    return all(
        any(url.startswith(("file:", "package:", "/")) for url in item["urls"])
        for item in model["files"]
    )


def _too_small(
    final: Model, small: Model | entries.ModelEntry, held: Mapping[str, int], least_mb: int
) -> str:
    """Return why ``final`` is too small for a fast start, or an empty string."""
    whole = _size(final)
    if not whole:
        return "the size of {} is unknown".format(final["id"])
    more = _missing(final, whole, held) - _missing(small, _size(small), held)
    if more >= least_mb * _MB:
        return ""
    return "the small model would save less than %.1f GB of download" % (least_mb / 1000)


def _size(model: Model | entries.ModelEntry) -> int:
    """Return the bytes of a model: exact, or the planning figure; 0: unknown."""
    exact = [int(item.get("size_bytes") or 0) for item in model["files"]]
    return sum(exact) if all(exact) else int(model.get("size_mb") or 0) * _MB


def _missing(model: Model | entries.ModelEntry, whole: int, held: Mapping[str, int]) -> int:
    names = [item["file"] for item in model["files"]]
    here = sum(held.get(name, held.get(name + ".part", 0)) for name in names)
    return max(0, whole - here)


def _is_here(model: Model, held: Mapping[str, int]) -> bool:
    """Tell whether every file exists with its size. The fetch verifies the content."""
    return all(
        item["file"] in held and held[item["file"]] == (item["size_bytes"] or held[item["file"]])
        for item in model["files"]
    )


def _serving(receipts: Receipts, install_dir: str) -> str:
    """Return the id of the model that the last install of this directory started."""
    health = receipts.get("health") or {}
    if health.get("state") != "done" or health.get("install_dir") != install_dir:
        return ""
    found = str((health.get("facts") or {}).get("model") or "")
    return "" if found == _TEST_MODEL else found


def _small(
    settings: SettingValues,
    facts: Facts,
    tier: Tier,
    catalog_models: entries.Models,
    wanted: str,
) -> Model:
    """Return the small model with the requested context if it offers that, else one that fits."""
    known = models.find_model(catalog_models, wanted)
    asked = int(settings["context_tokens"])
    context = asked if asked <= known["max_context_tokens"] else 0
    found = models.choose_model(
        facts,
        tier,
        catalog_models,
        wanted=wanted,
        context_tokens=context,
        memory_limit_mb=settings["memory_limit_mb"],
    )
    return {**found, "why": "answers until the host's own model is downloaded"}
