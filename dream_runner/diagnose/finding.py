"""The input and the result of a check."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.resource import Resource

OK, WARNING, ERROR = "ok", "warning", "error"


class Finding(NamedTuple):
    """The result of one check: a stable id, severity, evidence, and remedy."""

    id: str
    severity: str
    evidence: str
    remedy: str = ""


class Place(NamedTuple):
    """The input of the checks; ``root`` is / except in tests."""

    state_dir: str
    receipts: Receipts
    warnings: Sequence[str]
    now: float
    root: str = "/"

    def path(self, *names: str) -> str:
        """Return a path below ``root``."""
        return os.path.join(self.root, *names)

    def resources(self, *kinds: str) -> Iterator[Resource]:
        """Yield the recorded resources of the given kinds."""
        for document in self.receipts.values():
            for item in document.get("resources", []):
                if item["kind"] in kinds:
                    yield item

    def install_dirs(self) -> list[str]:
        """Return the install directories that the receipts name."""
        found = {str(item.get("install_dir") or "") for item in self.receipts.values()}
        return sorted(found - {""})


Check = Callable[[Place], Iterator[Finding]]


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 3 for errors, 11 for warnings only, else 0."""
    severities = {finding.severity for finding in findings}
    return 3 if ERROR in severities else 11 if WARNING in severities else 0
