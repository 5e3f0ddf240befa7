"""The API key of the native engine."""

from __future__ import annotations

from ..files import env_file, text_file

#: The name of the native engine's key in .env; only present if a key is required.
KEY_NAME = "ENGINE_API_KEY"


def api_key(path: str) -> str:
    """Return the engine's key from an ``.env`` file, or an empty string."""
    try:
        return env_file.parse(text_file.read(path, errors="surrogateescape")).get(KEY_NAME, "")
    except text_file.Unreadable:
        return ""
