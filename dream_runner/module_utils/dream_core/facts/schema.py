"""Names of the two formats; a change of either that old readers trip over gets a new number."""

from __future__ import annotations

#: The facts document.
SCHEMA = "dream-runner.facts/1"

#: The capture it is made from.
CAPTURE_SCHEMA = "dream-runner.capture/1"
