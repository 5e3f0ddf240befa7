"""Make one pure decision for the whole run from settings, facts and catalogue.

The wrapper calls it for the plan, the context play calls it for the roles. The same
inputs give the same decision, so install does what plan shows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast
from urllib.parse import unquote

from ..catalog import entries
from ..module_utils.dream_core.checks import versions
from ..module_utils.dream_core.checks.ports import choose_port
from ..module_utils.dream_core.fetch.sources import wheel_address
from ..module_utils.dream_core.profiles import NATIVE
from ..module_utils.dream_core.system import ip_addresses
from ..module_utils.dream_core.types.choice import (
    Choice,
    GpuAssignment,
    Header,
    Model,
    ModelFile,
    Stack,
    Tier,
)
from ..module_utils.dream_core.types.facts import Facts
from ..module_utils.dream_core.types.host import Listener, Session
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.settings import SettingValues
from . import fast_start, features, gpu_assignment, models, ports, profiles, tiers, webui
from .services import service_stack

#: Values of --gpu that the facts document calls differently.
_GPU_TO_BACKEND = {"none": "cpu"}


def decide(
    settings: SettingValues,
    facts: Facts,
    session: Session,
    catalog: Any,
    receipts: Receipts,
    listeners: Sequence[Listener] = (),
    held: Mapping[str, int] | None = None,
    bundled: Collection[str] = (),
    in_fleet: bool = False,
    described: Header | None = None,
) -> Choice:
    """Return ``dream_choice`` (docs/developer/contracts.md).

    ``held`` maps each model file to its bytes on disk (None: not checked); ``bundled`` are
    the digests of the bundle's files; ``described`` is the header of a model file that the
    user named. Raises UsageError for an impossible tier, model or feature, and
    RequirementError for a chosen port that another program uses.
    """
    facts = _with_backend(facts, settings["gpu"])
    profile, profile_why = profiles.resolve(settings, facts, session, receipts)
    settings = {**settings, "profile": profile}
    tier = tiers.choose_tier(
        facts, catalog.tiers, override=settings["tier"], memory_limit_mb=settings["memory_limit_mb"]
    )
    final = _choose_model(
        settings,
        facts,
        tier,
        catalog,
        described or _recorded(receipts, settings),
        _offline_models(settings, catalog.models, bundled, held or {}),
    )
    chosen = features.resolve(
        settings, facts, tier, catalog.features, catalog.services, final["context_tokens"]
    )
    supervisor = choose_supervisor(facts, session)
    start = fast_start.decide(
        settings,
        facts,
        tier,
        catalog.models,
        final,
        fast_start.HostState(supervisor, receipts, held, in_fleet),
    )
    model = start.small or final
    previous = receipts.get("requirements", {}).get("facts", {}).get("engine_port")
    loopbacks = session.get("loopbacks", ip_addresses.LOOPBACKS)
    listens = ports.engine_address(catalog.services["services"], settings, loopbacks)
    choice: Choice = {
        "profile": profile,
        "profile_why": profile_why,
        "tier": tier,
        "backend": facts["backend"],
        "features": chosen,
        "model": model,
        "context_tokens": model["context_tokens"],
        # Computed for the final model; the small one uses the same cards.
        "gpu_assignment": _assign(facts, final, chosen["services"], receipts),
        "engine_port": choose_port(
            settings["engine_port"], previous, listeners, bind_address=listens
        ),
        "engine_address": listens,
        # The address at which this host reaches the engine.
        "address": ip_addresses.reachable(listens, loopbacks),
        "supervisor": supervisor,
        "fast_start": {"use": bool(start.small), "why": start.why},
        "upgrade": None,
    }

    def stacked(served: Model) -> Stack | None:
        # A compose project needs a container engine; only ``full`` has one.
        if profile == NATIVE:
            return None
        told: Choice = {**choice, "model": served}
        return service_stack.resolve(settings, facts, told, catalog, receipts, listeners, loopbacks)

    is_wanted, why = webui.is_wanted(settings)
    chosen["enabled"][webui.NAME], chosen["reasons"][webui.NAME] = is_wanted, why
    choice["webui"] = webui.resolve(
        settings, facts, catalog, choice["engine_port"], receipts, listeners, loopbacks
    )
    choice["url"] = ip_addresses.base_url(choice["address"], choice["engine_port"])
    choice["stack"] = stacked(model)
    if start.small:
        choice["upgrade"] = {"model": final, "stack": stacked(final)}
    # No role may depend on this: it is empty after the new images have run once.
    choice["data_changes"] = versions.moves(
        catalog.services["services"],
        (choice["stack"] or {}).get("images", ()),
        receipts,
        catalog.images["images"],
    )
    choice["port_notes"] = ports.notes(settings, choice, receipts, listeners)
    return choice


def _assign(
    facts: Facts, model: Model, services: Sequence[str], receipts: Receipts
) -> GpuAssignment | None:
    """Return the assignment of cards; None if the CPU computes.

    An earlier assignment is kept as long as its cards exist, because moving a model
    restarts services.
    """
    if facts["backend"] == "cpu" or not model.get("need_mb"):
        return None
    previous = receipts.get("detection", {}).get("facts", {}).get("gpu_assignment")
    helpers = [name for name in gpu_assignment.HELPERS if name in services]
    return gpu_assignment.assign(facts, model["need_mb"], helpers, previous)


def _with_backend(facts: Facts, wanted: str) -> Facts:
    """Return a copy of the facts with the user's backend."""
    if wanted == "auto":
        return facts
    backend = _GPU_TO_BACKEND.get(wanted, wanted)
    return {**facts, "backend": backend, "backend_overridden": True}


def _choose_model(
    settings: SettingValues,
    facts: Facts,
    tier: Tier,
    catalog: Any,
    described: Header | None,
    only: Collection[str] | None,
) -> Model:
    wanted = settings["model"]
    if wanted == "small":
        wanted = fast_start.small_id(catalog.models)
    if "://" in wanted or wanted.startswith(("file:", wheel_address.PREFIX)):
        model = _model_of_url(settings)
        if described and described["attention"] and described["context_tokens"]:
            return _model_of_header(model, described, settings, facts, tier, catalog.models)
        return model
    return models.choose_model(
        facts,
        tier,
        catalog.models,
        wanted=wanted,
        context_tokens=settings["context_tokens"],
        memory_limit_mb=settings["memory_limit_mb"],
        only=only,
    )


def _offline_models(
    settings: SettingValues,
    models_catalog: entries.Models,
    bundled: Collection[str],
    held: Mapping[str, int],
) -> Collection[str] | None:
    """Return the ids of models that are available offline; None without --offline."""
    if not settings["offline"]:
        return None
    return {
        str(model["id"])
        for model in models_catalog["models"]
        if all(file["sha256"] in bundled or file["file"] in held for file in model["files"])
    }


#: llama.cpp defaults to the context that the model was trained with, whose cache can be
#: larger than the host's memory. A model without a description gets a small one instead.
_URL_CONTEXT_TOKENS = 4096


def _model_of_url(settings: SettingValues) -> Model:
    url = settings["model"]
    if wheel_address.is_wheel(url):
        name = wheel_address.parse(url).file
    else:
        name = url.split("?")[0].split("#")[0].rstrip("/").rsplit("/", 1)[-1]
    if url.startswith("file:"):
        # The name appears in unit files, command lines and receipts: keep only safe characters.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(name))
    stem = name[: -len(".gguf")] if name.endswith(".gguf") else name
    file: ModelFile = {
        "file": name,
        "sha256": settings["model_sha256"].lower(),
        "size_bytes": settings["model_size_bytes"] or None,
        "urls": [url],
    }
    return {
        "file": file["file"],
        "sha256": file["sha256"],
        "size_bytes": file["size_bytes"],
        "urls": file["urls"],
        "id": stem,
        "name": stem,
        "files": [file],
        "context_tokens": settings["context_tokens"] or _URL_CONTEXT_TOKENS,
        "why": "chosen by its URL",
    }


def _recorded(receipts: Receipts, settings: SettingValues) -> Header | None:
    """Return the header that the models phase recorded for the same file, or None."""
    facts = (receipts.get("models") or {}).get("facts") or {}
    is_same = facts.get("sha256") and facts.get("sha256") == settings["model_sha256"]
    found = facts.get("described") if is_same else None
    return cast("Header", found) if isinstance(found, dict) else None


def _model_of_header(
    model: Model,
    described: Header,
    settings: SettingValues,
    facts: Facts,
    tier: Tier,
    models_catalog: entries.Models,
) -> Model:
    """Return ``model`` with the largest context that its header and this host allow."""
    shaped: entries.ModelEntry = {
        "id": model["id"],
        "name": model["name"],
        "files": model["files"],
        "size_mb": -(-int(model["size_bytes"] or 0) // 1_000_000),
        "max_context_tokens": int(described["context_tokens"]),
        "architecture": {"attention": described["attention"]},
    }
    fitted = models.choose_given(
        shaped,
        facts,
        tier,
        models_catalog,
        context_tokens=int(settings["context_tokens"]),
        memory_limit_mb=int(settings["memory_limit_mb"]),
    )
    why = (
        f"chosen by its path: {described['architecture']}, "
        f"trained for {described['context_tokens']} tokens of context"
    )
    return {**fitted, "described": described, "why": why}


def choose_supervisor(facts: Facts, session: Session) -> str:
    """Return the supervisor of the native engine on this host.

    A unit needs systemd as PID 1. Root gets a system unit; another user gets a user unit if the
    user's manager can run without a login. Otherwise it is supervisord.
    """
    if facts["init"]["system"] != "systemd":
        return "supervisord"
    if session["is_root"]:
        return "systemd-system"
    return "systemd-user" if session["user_manager"] else "supervisord"
