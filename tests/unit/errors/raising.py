"""Call something that must fail, and return its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.errors import DreamError


def raised(call: Callable[..., Any], *given: Any, **named: Any) -> DreamError:
    with pytest.raises(DreamError) as caught:
        call(*given, **named)
    return caught.value


def told(call: Callable[..., Any], *given: Any, **named: Any) -> tuple[str, int]:
    """Return the code and the exit code of the error."""
    error = raised(call, *given, **named)
    return error.code, error.exit_code
