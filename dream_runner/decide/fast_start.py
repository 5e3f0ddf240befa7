"""Whether a small model answers while the host's own is fetched: with which, and why.

Pure. The small model is the catalogue's (``fast_start`` in models.yml) or the one
that the setting names. The host's own model is then fetched, tried and put in its
place by a program in the background (upgrader.py); the decision holds until that has ended.
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

#: Proves an installation in tests and gives no useful answers.
_TEST_MODEL = "smoke"

_MB = 1_000_000
_WORDS = ("auto", "yes", "no")
_HERE = "its model is already downloaded"
_NO_SMALL = "the catalogue names no small model"


class HostState(NamedTuple):
    """What the decision needs to know of a host and its run.

    ``held`` maps the names in the models directory to the bytes that are there, those of a
    partial under ``NAME.part``; None where nobody looked. ``in_fleet``: others get the
    same model in the same run.
    """

    supervisor: str
    receipts: Receipts
    held: Mapping[str, int] | None
    in_fleet: bool


class Keeper(TypedDict):
    """The program that a fast start leaves running; ``scope`` is who keeps it."""

    name: str
    scope: str


class Start(NamedTuple):
    """The decision: the model that answers until then (None: no fast start), and why."""

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
    """Return whether a small model answers while ``final`` is fetched.

    While a unit is at work on ``final`` the answer stays what it was, so that
    installing again in the meantime changes nothing.
    """
    wish = str(settings["fast_start"])
    wanted = wish if wish not in _WORDS else small_id(catalog_models)
    why_not = _never(settings, host, wish) or ("" if wanted else _NO_SMALL)
    if why_not:
        return Start(None, why_not)
    if not is_pending(host.receipts, final):
        why_not = _not_now(settings, catalog_models, final, host, wish, wanted)
    if why_not:
        return Start(None, why_not)
    try:
        small = _small(settings, facts, tier, catalog_models, wanted)
    except DreamError as error:
        return Start(None, error.what)
    return Start(small, "{} answers until {} is downloaded".format(small["id"], final["id"]))


def small_id(catalog_models: entries.Models) -> str:
    """Return the id of the catalogue's small model; a site's own catalogue need not have one."""
    rule = catalog_models.get("fast_start")
    return str(rule["model"] or "") if rule else ""


def outlook(catalog_models: entries.Models, final: Model) -> str:
    """Return what ``auto`` makes of a model on a first install, in words for people."""
    usual = small_id(catalog_models)
    if not usual:
        return _NO_SMALL
    if usual == final["id"]:
        return "it is the small model itself"
    small = models.find_model(catalog_models, usual)
    why_not = _too_small(final, small, {}, int(catalog_models["fast_start"]["at_least_mb"]))
    return why_not or f"{usual} answers until it is downloaded"


def keeper(supervisor: str) -> Keeper:
    """Return ``{name, scope}`` of the program that a fast start leaves running."""
    if supervisor == "supervisord":
        return {"name": UPGRADE_PROGRAM, "scope": BACKGROUND}
    return {"name": UPGRADE_UNIT, "scope": "user" if supervisor == "systemd-user" else "system"}


def is_pending(receipts: Receipts, final: Model) -> bool:
    """Tell whether an install has left ``final`` to the unit, which has not ended its work."""
    return bool(pending(receipts).get("sha256") == final["sha256"])


def after(choice: Choice) -> Choice:
    """Return what ``decision.decide`` will say when the host's own model answers."""
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


def _never(settings: SettingValues, host: HostState, wish: str) -> str:
    """Return why this host cannot, or shall not, have a fast start at all."""
    if wish == "no":
        return "switched off"
    if settings["offline"]:
        return "offline, nothing is fetched later"
    return "nobody has looked which models are here" if host.held is None else ""


def _not_now(
    settings: SettingValues,
    catalog_models: entries.Models,
    final: Model,
    host: HostState,
    wish: str,
    small: str,
) -> str:
    """Return why no fast start begins now."""
    held = host.held or {}
    if small == final["id"]:
        return "it is the small model itself"
    if _is_here(final, held):
        return _HERE
    serving = _serving(host.receipts, str(settings["install_dir"]))
    if serving not in ("", small):
        return f"{serving} answers until then"
    if wish != "auto":
        return ""
    if settings["bundle"]:
        return "a bundle brings the model"
    if host.in_fleet:
        return "a fleet fetches a model once and hands it on"
    if _is_local(final):
        return "its model comes from a file of this machine"
    known = models.find_model(catalog_models, small)
    if not _size(final) and settings["profile"] == "native":
        # The small model is small enough to be fetched for a download of any size.
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
    """Return why waiting for ``final`` is no longer than it is worth, or an empty string."""
    whole = _size(final)
    if not whole:
        return "the size of {} is not known".format(final["id"])
    more = _missing(final, whole, held) - _missing(small, _size(small), held)
    if more >= least_mb * _MB:
        return ""
    return "the small model would save less than %.1f GB of waiting" % (least_mb / 1000)


def _size(model: Model | entries.ModelEntry) -> int:
    """Return the bytes of a model, by the planning figure where none is exact; 0: unknown."""
    exact = [int(item.get("size_bytes") or 0) for item in model["files"]]
    return sum(exact) if all(exact) else int(model.get("size_mb") or 0) * _MB


def _missing(model: Model | entries.ModelEntry, whole: int, held: Mapping[str, int]) -> int:
    names = [item["file"] for item in model["files"]]
    here = sum(held.get(name, held.get(name + ".part", 0)) for name in names)
    return max(0, whole - here)


def _is_here(model: Model, held: Mapping[str, int]) -> bool:
    """Tell whether every file is there; that it is the right one, the fetch will see."""
    return all(
        item["file"] in held and held[item["file"]] == (item["size_bytes"] or held[item["file"]])
        for item in model["files"]
    )


def _serving(receipts: Receipts, install_dir: str) -> str:
    """Return the id of the model that answers since the last install of this directory."""
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
    """Return the small model at a context that fits; the asked one where it can offer that."""
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
