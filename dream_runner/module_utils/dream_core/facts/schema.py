"""The names of the two formats; an incompatible change gets a new number."""

from __future__ import annotations

#: The facts document.
SCHEMA = "dream-runner.facts/1"

#: The capture that it is made from.
CAPTURE_SCHEMA = "dream-runner.capture/1"
