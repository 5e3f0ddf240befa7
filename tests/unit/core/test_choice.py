"""The pieces of the decision that choice.py makes itself."""

import pytest

from dream_runner.module_utils.dream_core.choice import choose_supervisor


@pytest.mark.parametrize(
    ("pid1", "is_root", "manager", "expected"),
    [
        ("systemd", True, False, "systemd-system"),
        ("systemd", False, True, "systemd-user"),
        ("systemd", False, False, "supervisord"),
        ("other", True, False, "supervisord"),
        ("other", False, True, "supervisord"),
    ],
)
def test_the_supervisor_follows_the_host(
    pid1: str, is_root: bool, manager: bool, expected: str
) -> None:
    facts = {"init": {"system": pid1}}
    session = {"is_root": is_root, "user_manager": manager}
    assert choose_supervisor(facts, session) == expected
