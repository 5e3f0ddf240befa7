"""Decisions of the stack for recorded machines."""

from __future__ import annotations

from functools import cache
from typing import Any

from dream_runner import catalog, paths
from dream_runner.commands.facts import read_capture
from dream_runner.decide.decision import decide
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.settings.table import defaults

SESSION = {"is_root": True, "user_manager": False}

#: One machine of each kind that has its own variant.
HOSTS = {
    "cpu": "cpu-64gb",
    "nvidia": "nvidia-a100-40gb",
    "multi_nvidia": "nvidia-4x-a100-80gb-nv12",
    "amd": "amd-strix-halo-395-128gb",
    "multi_amd": "amd-2x-rx7900xtx",
    "intel": "intel-arc-a770-16gb",
    "arm64": "arm64-64k-pages",
}


@cache
def facts_of(capture: str) -> Any:
    folder = paths.PACKAGE.parent / "tests" / "fixtures" / "captures"
    return interpret(read_capture(str(folder / f"{capture}.yml")))


def choose(
    host: str = "cpu",
    *,
    listeners: tuple[dict[str, Any], ...] = (),
    receipts: dict[str, Any] | None = None,
    lock: dict[str, Any] | None = None,
    **chosen: Any,
) -> dict[str, Any]:
    """Return the decision for a host of ``HOSTS``, or of a capture, with some settings said."""
    settings = {name.removeprefix("dream_"): value for name, value in defaults().items()}
    settings |= {"profile": "full", "install_dir": "/srv/my ai$"} | chosen
    loaded = catalog.load()
    if lock is not None:
        loaded = catalog.Catalog(**{**vars(loaded), "images": {"images": lock}})
    return decide(
        settings, facts_of(HOSTS.get(host, host)), SESSION, loaded, receipts or {}, listeners
    )


def stack(host: str = "cpu", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = choose(host, **more)["stack"]
    return found
