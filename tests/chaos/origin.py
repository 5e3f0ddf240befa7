"""The server of a model: what an install is told of it, and what it counts."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from fixtures.villain import Villain

#: Bytes of the model.
SIZE = 48 * 1024 * 1024


@dataclass
class Origin:
    """The server of a model; ``flags`` make an install fetch it from there."""

    server: Villain
    sha256: str

    @classmethod
    def of(cls, server: Villain) -> Origin:
        return cls(server, hashlib.sha256(server.content).hexdigest())

    @property
    def flags(self) -> list[str]:
        model = [f"--model={self.server.url('paced')}", f"--model-sha256={self.sha256}"]
        return [*model, "--fast-start=no"]

    def wait(self, sent: int) -> None:
        deadline = time.monotonic() + 120
        while self.server.sent() < sent and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.server.sent() >= sent, "the fetch did not get so far"
