"""Problems with settings, by the names that the user typed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.redact import clean, shortened

#: Maximum length of a value or key in a message.
_LONGEST = 400


@dataclass(frozen=True)
class Problem:
    """One problem with a setting."""

    where: str
    what: str
    hint: str = ""

    def __post_init__(self) -> None:
        # A key may be very long, but it is not a secret: a host called "password" must not
        # hide the variable after it.
        object.__setattr__(self, "where", shortened(self.where, _LONGEST))
        object.__setattr__(self, "what", clean(self.what, _LONGEST))

    def to_dict(self) -> dict[str, str]:
        """Return the problem as plain data."""
        return {"where": self.where, "what": self.what, "hint": self.hint}


class SettingsError(UsageError):
    """All problems with the settings."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        what = "a setting is invalid" if count == 1 else f"{count} settings are invalid"
        super().__init__(what + "; nothing was changed", code="SETTINGS_INVALID")

    def to_dict(self) -> dict[str, Any]:
        """Return the error and its list of problems as plain data."""
        return {**super().to_dict(), "problems": [item.to_dict() for item in self.problems]}
