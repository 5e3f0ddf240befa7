"""Events as JSON lines, for programs."""

from __future__ import annotations

import json
import time
from typing import TextIO

from ..run.events import Event, Notice, to_message


class JsonListener:
    """Write each event as one JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, event: Event) -> None:
        """Write one event."""
        self._stream.write(json.dumps(to_message(event), ensure_ascii=False) + "\n")
        self._stream.flush()

    def note(self, text: str, level: str = "info") -> None:
        """Write a message of the wrapper as a notice."""
        self.take(Notice(time.time(), "localhost", level, text))

    def close(self) -> None:
        """Do nothing: every line is already written."""
