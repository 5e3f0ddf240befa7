"""The pieces of the decision that decision.py makes itself."""

from typing import Any

import pytest

from dream_runner import catalog, paths
from dream_runner.commands.facts import read_capture
from dream_runner.decide.decision import choose_supervisor, decide
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.settings.table import defaults

SESSION = {"is_root": True, "user_manager": False}


def decided(capture: str, receipts: dict[str, Any] | None = None, **chosen: Any) -> dict[str, Any]:
    path = paths.PACKAGE.parent / "tests" / "fixtures" / "captures" / f"{capture}.yml"
    facts = interpret(read_capture(str(path)))
    settings = {name.removeprefix("dream_"): value for name, value in defaults().items()}
    settings |= {"install_dir": "/srv/ai"} | chosen
    return decide(settings, facts, SESSION, catalog.load(), receipts or {})


def test_cards_stay_assigned_while_they_are_there() -> None:
    first = decided("nvidia-4x-a100-80gb-nv12")["gpu_assignment"]
    assert first["engine"]
    receipts = {
        "detection": {"facts": {"gpu_assignment": dict(first, engine=first["engine"][::-1])}}
    }
    again = decided("nvidia-4x-a100-80gb-nv12", receipts)["gpu_assignment"]
    assert (again["engine"], again["kept"]) == (first["engine"][::-1], True)
    gone = {"detection": {"facts": {"gpu_assignment": dict(first, engine=["GPU-sold"])}}}
    assert decided("nvidia-4x-a100-80gb-nv12", gone)["gpu_assignment"]["engine"] == first["engine"]


def test_a_host_without_cards_assigns_none() -> None:
    choice = decided("nvidia-4x-a100-80gb-nv12", gpu="none")
    assert (choice["backend"], choice["gpu_assignment"]) == ("cpu", None)


def test_the_same_inputs_give_the_same_answer() -> None:
    assert decided("nvidia-4x-t4") == decided("nvidia-4x-t4")


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
