"""What a host answers is its own affair: nonsense fails that host and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from dream_runner.fleet.look import Seen, cleaned
from dream_runner.module_utils.dream_core.due import Reason
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.settings import Chosen, Settings

SETTINGS = Settings({"profile": Chosen("embedded", "default", "default")})


def document(**changes: Any) -> dict[str, Any]:
    reasons = {phase: list(Reason("unchanged")) for phase in PHASES}
    return {
        "install_dir": "/home/u/dream-runner",
        "state_dir": "/home/u/.local/state/dream-runner",
        "home": "/home/u",
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
    host.prove()
    assert not host.is_due
    assert not host.lacks_password
    assert host.missing_bytes == 750


def test_a_model_that_does_not_answer_is_work_and_root_may_be_needed() -> None:
    host = seen(engine={"url": "", "answers": False, "why": "refused"})
    assert host.is_due
    assert host.lacks_password


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
        seen(**changes).prove()


def test_no_control_characters_reach_a_terminal() -> None:
    assert cleaned({"a\x1b": ["x\ny", 3, None]}) == {"a ": ["x y", 3, None]}
