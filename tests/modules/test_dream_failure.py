"""A role's own failure carries the class that the exit code is made from."""

import pytest

from .conftest import Run


@pytest.mark.parametrize(("kind", "exit_code"), [("EngineError", 8), ("UsageError", 2)])
def test_class_and_exit_code(run_module: Run, kind: str, exit_code: int) -> None:
    result = run_module("dream_failure", kind=kind, code="X_Y", what="it broke", hint="mend it")
    assert result["failed"] is True
    assert result["msg"] == "it broke"
    assert result["dream_error"]["exit_code"] == exit_code
    assert result["dream_error"]["hint"] == "mend it"
