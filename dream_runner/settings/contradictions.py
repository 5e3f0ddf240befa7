"""Settings that are right by themselves and wrong together."""

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
    """Return what is right by itself and wrong together."""
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
    """Return the word to blame: the one that was typed, else the flag to type."""
    item = chosen[name]
    return BY_NAME[name].flag if item.origin in ("default", "saved") else item.where


def _about_model(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    is_url = parsers.is_url(value["model"])
    # The digest of a file of this machine is computed (local_model.py).
    is_file = str(value["model"]).startswith("file:")
    if is_url and not is_file and not value["model_sha256"]:
        return [
            Problem(
                _spelled("model", chosen),
                "a model given by its address needs the SHA-256 of the file",
                "add --sha256 HEX; the model's page or 'sha256sum FILE' tells it",
            )
        ]
    lonely = [name for name in ("model_sha256", "model_size_bytes") if value[name] and not is_url]
    return [
        Problem(
            _spelled(name, chosen),
            "only goes with --model URL; models of the catalogue bring their own",
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
            "the full profile has accounts and keys of its own",
            "leave it out, or use --profile native",
        )
    ]


def _about_exposure(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return what keeps a port closed that --expose names now; a saved one waits for --lan."""
    if not value["expose"] or chosen["expose"].origin == "saved":
        return []
    if value["profile"] == "native":
        what, hint = "the native profile has one port", "leave it out; --lan opens that port"
    elif is_loopback(value["bind_address"]):
        what = "all services listen on this machine only"
        hint = "add --lan, or --bind-address with an address of this machine"
    else:
        return []
    return [Problem(_spelled("expose", chosen), what, hint)]


def _about_profile(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
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
                "this model is in the network, and --offline uses none",
                "give a file:/// address, a --bundle, or leave out --offline",
            )
        ]
    return []


def _about_files(value: Mapping[str, Any], chosen: Mapping[str, Chosen]) -> list[Problem]:
    """Return the files that were named now and are not there.

    One that an earlier run named may have gone since: what was made from it is
    there, and if it is not, the fetch will say so.
    """
    model = str(value["model"])
    named = {"model": unquote(urlsplit(model).path) if model.startswith("file:") else ""}
    named["bundle"] = value["bundle"]
    return [
        Problem(chosen[name].where, f"there is no {path}", "check the path")
        for name, path in named.items()
        if path and chosen[name].origin != "saved" and not os.path.exists(path)
    ]
