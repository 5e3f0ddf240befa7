"""Who comes when, and when it stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dream_runner.fleet.wave_order import parse
from dream_runner.module_utils.dream_core.errors import UsageError

TWENTY = [f"h{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("canary", "waves", "count", "sizes"),
    [
        ("1", "10%,50%,100%", 20, [1, 1, 8, 10]),
        ("2", "5,20", 20, [2, 3, 15]),
        ("0", "100%", 20, [20]),
        ("1", "10%,50%,100%", 1, [1]),
        ("1", "10%,50%,100%", 3, [1, 1, 1]),
        ("10%", "50%", 20, [2, 8, 10]),
        ("5", "10%,100%", 20, [5, 15]),
        ("1", "", 4, [1, 3]),
        ("1", "10%,50%,100%", 0, []),
    ],
)
def test_stages(canary: str, waves: str, count: int, sizes: list[int]) -> None:
    stages = parse(canary, waves, "0").stages(TWENTY[:count])
    assert [len(stage) for stage in stages] == sizes


@given(
    canary=st.integers(0, 30),
    waves=st.lists(st.integers(0, 100), max_size=5).map(sorted),
    count=st.integers(0, 60),
)
def test_every_host_is_in_one_stage_and_in_order(canary: int, waves: list[int], count: int) -> None:
    hosts = [f"h{number}" for number in range(count)]
    order = parse(str(canary), ",".join(f"{wave}%" for wave in waves), "0")
    stages = order.stages(hosts)
    assert [host for stage in stages for host in stage] == hosts
    assert all(stages)


@pytest.mark.parametrize(
    ("max_fail", "failed", "goes_on"),
    [("0", 0, True), ("0", 1, False), ("2", 2, True), ("2", 3, False), ("10%", 2, True),
     ("10%", 3, False), ("4%", 1, False), ("100%", 20, True)],
)  # fmt: skip
def test_failures_allowed(max_fail: str, failed: int, goes_on: bool) -> None:
    assert parse("1", "100%", max_fail).allows(failed, 20) is goes_on


@pytest.mark.parametrize(
    ("canary", "waves", "max_fail"),
    [
        ("x", "100%", "0"),
        ("-1", "100%", "0"),
        ("1", "50%,10%", "0"),
        ("1", "5,100%", "0"),
        ("1", "100%", "101%"),
        ("1", "100%", ""),
    ],
)
def test_nonsense_is_refused(canary: str, waves: str, max_fail: str) -> None:
    with pytest.raises(UsageError):
        parse(canary, waves, max_fail)
