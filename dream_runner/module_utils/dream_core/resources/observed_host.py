"""Requests to a host for several resources at once."""

from __future__ import annotations

from typing import Any, Callable, Dict, Hashable, Iterable, List, TypeVar

from ..types.resource import Resource

Answer = TypeVar("Answer")


class Host:
    """A host and the resources to observe on it; each request is sent once and only if needed."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self.resources = list(resources)
        self._answers: Dict[Hashable, Any] = {}

    def once(self, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        """Return the result of ``ask``, which is called only the first time for ``question``."""
        if question not in self._answers:
            self._answers[question] = ask()
        answer: Answer = self._answers[question]
        return answer

    def names(self, kind: str, scope: str = "") -> List[str]:
        """Return the names of the resources of one kind and scope."""
        return sorted(
            {
                item["name"]
                for item in self.resources
                if item["kind"] == kind and item.get("scope", "") == scope
            }
        )
