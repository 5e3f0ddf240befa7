"""The effective settings of a run, by name (``dream_<name>`` in Ansible)."""

from __future__ import annotations

from typing import List

from ..document import TypedDict


class _Saved(TypedDict, total=False):
    #: auto, native or full; the resulting one is ``choice["profile"]``.
    profile: str
    #: Absolute, symlinks resolved.
    install_dir: str
    #: auto or the id of a tier.
    tier: str
    #: auto, none, nvidia, amd or intel.
    gpu: str
    #: auto, vulkan or rocm: the build of llama.cpp for AMD in containers. auto: vulkan.
    amd_engine: str
    #: auto, small, smoke, an id of the catalogue, a path, or an address (https, http, file, wheel).
    model: str
    #: 64 hex digits, or empty. Required with an address.
    model_sha256: str
    #: 0: unknown.
    model_size_bytes: int
    #: 0: chosen automatically.
    context_tokens: int
    #: auto, yes, no or an id of the catalogue: a small model answers during the download.
    fast_start: str
    #: 0: 11434 or the next free one, kept on later runs.
    engine_port: int
    #: ``NAME=PORT``; NAME is a service with one port, or the key of a port.
    ports: List[str]
    #: An IP address; in the full profile for ports with ``exposure: page`` only.
    bind_address: str
    #: Services or keys of ports that also listen on ``bind_address``, although they are ``inner``.
    expose: List[str]
    #: Native engine only; the key is ``ENGINE_API_KEY`` in ``.env``.
    api_key: bool
    #: The features: yes, no or auto.
    voice: str
    workflows: str
    rag: str
    agents: str
    images: str
    observability: str
    search: str
    #: yes, no or auto (native: no): Open WebUI without containers.
    webui: str
    devtools: List[str]
    #: Do not use the network.
    offline: bool
    #: A directory with the artefacts for offline, or empty.
    bundle: str
    #: auto, distro, upstream or skip: the source of the container engine.
    docker_source: str
    #: Use at most this much RAM; 0: all.
    memory_limit_mb: int
    #: Free space to keep on every used filesystem.
    disk_reserve_mb: int
    #: Ids of unmet requirements to ignore.
    accept: List[str]


class SettingValues(_Saved, total=False):
    """All settings; those for one run only are not saved."""

    yes: bool
    resume: bool
    fresh: bool
    force: bool
    full: bool
    dry_run: bool
    verify: bool
    json: bool
    ui: str
