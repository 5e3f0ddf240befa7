"""Which profile an installation gets, and that it keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from dream_runner.decide import profiles
from dream_runner.module_utils.dream_core.records import inputs

ROOT = {"is_root": True, "sudo": "root"}
PLAIN = {"is_root": False, "sudo": "none"}
CPU, NVIDIA = {"backend": "cpu"}, {"backend": "nvidia"}


def installed(profile: str, state: str = "done") -> dict[str, Any]:
    return {"features": {"state": state, "facts": {"profile": profile}}}


@pytest.mark.parametrize(
    ("settings", "facts", "session", "receipts", "profile", "reason"),
    [
        ({}, CPU, ROOT, {}, "native", "no usable GPU"),
        ({}, NVIDIA, ROOT, {}, "full", "nvidia GPU"),
        ({}, NVIDIA, PLAIN, {}, "native", "cannot become root"),
        ({}, NVIDIA, {**PLAIN, "has_containers": True}, {}, "full", "nvidia GPU"),
        ({}, NVIDIA, {"is_root": False, "sudo": "password"}, {}, "full", "nvidia GPU"),
        ({"voice": "yes"}, CPU, ROOT, {}, "full", "voice runs in containers"),
        ({"voice": "no"}, CPU, ROOT, {}, "native", "no usable GPU"),
        ({"profile": "full"}, CPU, PLAIN, {}, "full", "chosen"),
        ({"profile": "embedded"}, NVIDIA, ROOT, {}, "native", "chosen"),
        ({}, NVIDIA, ROOT, installed("native"), "native", "already"),
        ({}, NVIDIA, ROOT, installed("embedded"), "native", "already"),
        ({}, CPU, ROOT, installed("full"), "full", "already"),
        ({}, CPU, ROOT, installed("full", "removed"), "native", "no usable GPU"),
        ({}, CPU, ROOT, installed("nonsense"), "native", "no usable GPU"),
        ({"profile": "native"}, CPU, ROOT, installed("full"), "native", "chosen"),
    ],
)
def test_auto_takes_containers_only_where_a_gpu_needs_them(
    settings: dict[str, Any],
    facts: dict[str, Any],
    session: dict[str, Any],
    receipts: dict[str, Any],
    profile: str,
    reason: str,
) -> None:
    found, why = profiles.resolve({"profile": "auto", **settings}, facts, session, receipts)
    assert found == profile
    assert reason in why


def test_the_reason_is_for_people_and_runs_no_phase_again() -> None:
    first, later = ({"profile": "native", "profile_why": why} for why in ("a", "b"))
    assert inputs.values({}, first, {}, {}) == inputs.values({}, later, {}, {})
