"""The API key of the native engine."""

from __future__ import annotations

from ..files import env_file, text_file

#: The key of the native engine in .env; there is none where nobody wanted one.
KEY_NAME = "ENGINE_API_KEY"


def api_key(path: str) -> str:
    """Return the key of the engine from an ``.env`` file, or an empty string."""
    try:
        return env_file.parse(text_file.read(path, errors="surrogateescape")).get(KEY_NAME, "")
    except text_file.Unreadable:
        return ""
