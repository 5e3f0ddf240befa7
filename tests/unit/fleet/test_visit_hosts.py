"""What a host answers is its own affair: nonsense fails that host and nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dream_runner.commands.fleet import install as command
from dream_runner.fleet.inventory.hosts import InventoryHost
from dream_runner.fleet.seen import Seen
from dream_runner.fleet.session import Passwords
from dream_runner.fleet.visit_hosts import without_controls, without_twins
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records.due_phases import Reason
from dream_runner.settings.values import Chosen, Settings

SETTINGS = Settings({"profile": Chosen("native", "default", "default")})


def document(**changes: Any) -> dict[str, Any]:
    reasons = {phase: list(Reason("unchanged")) for phase in PHASES}
    return {
        "install_dir": "/home/u/dream-runner",
        "state_dir": "/home/u/.local/state/dream-runner",
        "home": "/home/u",
        "interpreter": "/usr/bin/python3",
        "present": {"m.gguf": 250},
        "filesystem": {"free_bytes": 10},
        "loads_engine": True,
        "lingers": False,
        "engine": {"url": "http://127.0.0.1:11434", "answers": True, "why": ""},
        "context": {"receipts": {}, "drift": {}},
        "decided": {
            "reasons": reasons,
            "session": {"sudo": "password"},
            "choice": {
                "profile": "native",
                "model": {"id": "m", "files": [{"file": "m.gguf", "size_bytes": 1000}]},
                "supervisor": "systemd-user",
            },
        },
        **changes,
    }


def seen(**changes: Any) -> Seen:
    return Seen("a", SETTINGS, document(**changes))


def test_a_host_in_order_rests() -> None:
    host = seen()
    host.validate()
    assert not host.is_due
    assert not host.needs_root
    assert host.missing_bytes == 750


def test_a_model_that_does_not_answer_is_work_and_root_may_be_needed() -> None:
    host = seen(engine={"url": "", "answers": False, "why": "refused"})
    assert host.is_due
    assert host.needs_root


@pytest.mark.parametrize(
    ("sudo", "has_password", "code"),
    [
        ("none", True, "SUDO_MISSING"),
        ("password", False, "SUDO_NEEDED"),
        ("password", True, ""),
        ("passwordless", False, ""),
        ("root", False, ""),
    ],
)
def test_what_is_wanting_of_sudo_is_said_before_the_work(
    sudo: str, has_password: bool, code: str
) -> None:
    base = document(loads_engine=False, engine={"url": "", "answers": False, "why": "refused"})
    host = Seen("a", SETTINGS, {**base, "decided": {**base["decided"], "session": {"sudo": sudo}}})
    fleet = SimpleNamespace(
        passwords=Passwords(), hosts={"a": InventoryHost("a", has_become_password=has_password)}
    )
    errors = command.without_sudo({"a": host}, fleet)  # type: ignore[arg-type]
    assert [error.code for error in errors.values()] == ([code] if code else [])


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": None},
        {"present": {"m.gguf": "many"}},
        {"present": []},
        {"context": {"receipts": [], "drift": {}}},
        {"context": {"receipts": {}, "drift": {"models": [{}]}}},
        {"filesystem": {"free_bytes": "all"}},
        {"install_dir": None, "engine": {}},
    ],
)
def test_nonsense_is_found_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        seen(**changes).validate()


def test_no_control_characters_reach_a_terminal() -> None:
    assert without_controls({"a\x1b": ["x\ny", 3, None]}) == {"a ": ["x y", 3, None]}


def test_two_ways_to_one_account_are_one_host_and_one_error() -> None:
    """Names that DNS or a jump host leads to one machine are only told apart there."""
    account = "0" * 32
    found = {"a": seen(account=account), "b": seen(account=account), "c": seen(account="1" * 32)}
    checked = without_twins(found)
    assert checked["a"] is found["a"]
    assert checked["c"] is found["c"]
    error = checked["b"]
    assert isinstance(error, UsageError)
    assert (error.code, error.exit_code) == ("HOST_TWICE", 2)
    assert error.what.endswith("as a")
    assert len(without_twins({"a": seen(account=""), "b": seen(account="")})) == 2
