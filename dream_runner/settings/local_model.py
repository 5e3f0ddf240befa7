"""A model that the user named by its path: its digest, size and header."""

from __future__ import annotations

import os
from dataclasses import replace

from ..catalog import gguf
from ..module_utils.dream_core.errors import DreamError, UsageError
from ..module_utils.dream_core.fetch.disk.stamp import recorded_digest, write_record
from ..module_utils.dream_core.fetch.sources.local import local_path
from ..module_utils.dream_core.files.hashing import hash_file
from ..module_utils.dream_core.types.choice import Header
from ..module_utils.dream_core.types.settings import SettingValues
from .values import Chosen, Settings

#: In the state directory: the digest of the file, valid until the file changes.
RECORD = "model.json"


def complete(settings: Settings, state_dir: str, *, save: bool) -> Settings:
    """Return the settings with the digest and size of a model file on this machine.

    The file is read once. Its digest is kept in the state directory and reused as long as size
    and times of the file are the same. A digest from the user is kept; the fetch verifies it.
    Raises UsageError NOT_A_GGUF or MODEL_FILE_UNREADABLE.
    """
    path = _path(settings.values())
    if not path or not os.path.isfile(path):
        # An earlier run may have copied the file before it was moved away.
        return settings
    given = settings.chosen["model_sha256"]
    if given.value and given.origin not in ("default", "saved"):
        return settings
    try:
        gguf.read(path)
        digest = _digest(path, os.path.join(state_dir, RECORD), save=save)
        size = os.path.getsize(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            code="MODEL_FILE_UNREADABLE",
            where=path,
            hint="check the path and its permissions",
        ) from error
    origin = settings.chosen["model"]
    found = {"model_sha256": digest, "model_size_bytes": size}
    return replace(
        settings,
        chosen={
            **settings.chosen,
            **{name: Chosen(value, origin.origin, origin.where) for name, value in found.items()},
        },
    )


def described(settings: SettingValues) -> Header | None:
    """Return the header of the chosen file, or None if there is no readable file."""
    path = _path(settings)
    if not path or not os.path.isfile(path):
        return None
    try:
        return gguf.read(path).to_dict()
    except (OSError, DreamError):
        return None


def _path(settings: SettingValues) -> str:
    model = str(settings["model"])
    return (local_path(model, "", "") or "") if model.startswith("file:") else ""


def _digest(path: str, record: str, *, save: bool) -> str:
    known = recorded_digest(path, record)
    if known:
        return known
    digest = hash_file(path)
    if save:
        write_record(path, digest, record)
    return digest
