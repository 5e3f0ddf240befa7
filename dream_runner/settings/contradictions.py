"""Find settings that are valid alone but not together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ..module_utils.dream_core.system.ip_addresses import is_loopback
from . import parsers
from .problems import Problem
from .table import BY_NAME, FEATURES
from .values import Chosen


def contradictions(chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return settings that are valid alone but not together."""
    value = {name: item.value for name, item in chosen.items()}
    return [
        *_about_model(value, chosen),
        *_about_profile(value, chosen),
        *_about_key(value, chosen),
        *_about_exposure(value, chosen),
        *_about_offline(value, chosen),
        *_about_files(value, chosen),
    ]


def _spelled(name: str, chosen: Mapping[str, Chosen]) -> str:
    """Return where the setting was given, or its flag if it was not."""
    item = chosen[name]
    return BY_NAME[name].flag if item.origin in ("default", "saved") else item.where


def _about_model(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    is_url = parsers.is_url(value["model"])
    # The digest of a local file is computed (local_model.py).
    is_file = str(value["model"]).startswith("file:")
    if is_url and not is_file and not value["model_sha256"]:
        return [
            Problem(
                _spelled("model", chosen),
                "a model URL needs the SHA-256 of the file",
                "add --sha256 HEX; it is on the model's page, or use 'sha256sum FILE'",
            )
        ]
    lonely = [name for name in ("model_sha256", "model_size_bytes") if value[name] and not is_url]
    return [
        Problem(
            _spelled(name, chosen),
            "can only be used with --model URL; the catalogue has it for its own models",
            f"leave it out, or set {BY_NAME[name].flag} to {BY_NAME[name].default or repr('')}",
        )
        for name in lonely
    ]


def _about_key(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    if not value["api_key"] or value["profile"] != "full":
        return []
    return [
        Problem(
            _spelled("api_key", chosen),
            "the full profile has its own accounts and keys",
            "leave it out, or use --profile native",
        )
    ]


def _about_exposure(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return why --expose has no effect now. A saved one is allowed: it waits for --lan."""
    if not value["expose"] or chosen["expose"].origin == "saved":
        return []
    if value["profile"] == "native":
        what, hint = "the native profile has no inner ports", "leave it out; --lan opens its pages"
    elif is_loopback(value["bind_address"]):
        what = "all services listen on this machine only"
        hint = "add --lan, or use --bind-address with an address of this machine"
    else:
        return []
    return [Problem(_spelled("expose", chosen), what, hint)]


def _about_profile(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    if value["profile"] == "full" and value["webui"] == "no":
        return [
            Problem(
                _spelled("webui", chosen),
                "the full profile always has Open WebUI",
                "leave it out, or use --profile native",
            )
        ]
    if value["profile"] != "native":
        return []
    wanted = [name for name in FEATURES if value[name] == "yes"]
    return [
        Problem(
            _spelled(name, chosen),
            f"{name} needs containers, which the native profile does not use",
            f"use --profile full, or {BY_NAME[name].flag} auto",
        )
        for name in wanted
    ]


def _about_offline(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    if value["offline"] and str(value["model"]).startswith(("http://", "https://", "wheel:")):
        return [
            Problem(
                _spelled("model", chosen),
                "--offline cannot download this model",
                "use the path of a local file or a --bundle, or leave out --offline",
            )
        ]
    return []


def _about_files(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return the files that were given now and do not exist.

    A file of an earlier run may be deleted after its copy was made. If the copy is missing
    too, the fetch reports it.
    """
    model = str(value["model"])
    named = {"model": unquote(urlsplit(model).path) if model.startswith("file:") else ""}
    named["bundle"] = value["bundle"]
    return [
        Problem(chosen[name].where, f"there is no {path}", "check the path")
        for name, path in named.items()
        if path and chosen[name].origin != "saved" and not os.path.exists(path)
    ]
